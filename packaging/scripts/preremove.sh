#!/bin/sh
# deb: "remove", "upgrade NEW-VERSION", …; rpm: the number of versions that remain.
set -e

units="bootagent-boot.service bootagent.socket bootagent.service bootagent-online.service"

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

systemctl=$(command -v systemctl) || exit 0

if [ -d /run/systemd/system ]; then
	# Not bootagent-boot.service: every application that requires it would stop.
	"$systemctl" stop bootagent-online.service bootagent.socket bootagent.service || true
fi
# shellcheck disable=SC2086 # a list of words
"$systemctl" --no-reload --quiet disable $units
