#!/bin/sh
# deb: "configure [OLD-VERSION]" or "abort-…"; rpm: the number of versions installed.
#
# Usually this runs while an image is built, in a chroot without systemd: there it
# only makes links. It never starts anything, and never touches
# bootagent-boot.service on a running node: new configuration means a new node.
set -e

units="bootagent-boot.service bootagent.socket bootagent.service bootagent-online.service"

# Not ">/dev/null": a tree in the making may have none.
systemctl=$(command -v systemctl) || exit 0

# Without a user in the image systemd makes up one for each boot, which serves,
# too, but for what bootagent.sysusers says.
if sysusers=$(command -v systemd-sysusers); then
	"$sysusers" bootagent.conf || true
fi

case "$1:$2" in
1:* | configure:) first=yes ;;
configure:*) [ ! -e /run/bootagent.reinstall ] || first=yes ;;
esac
rm -f /run/bootagent.reinstall

if [ -n "$first" ]; then
	# shellcheck disable=SC2086 # a list of words
	"$systemctl" --quiet preset $units
fi

if [ -d /run/systemd/system ]; then
	systemd-tmpfiles --create bootagent.conf || true
	"$systemctl" daemon-reload || true
	# Only where it runs already; the socket stays, with the clients on it.
	"$systemctl" try-restart bootagent.service || true
fi
