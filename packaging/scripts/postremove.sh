#!/bin/sh
# deb: "remove", "purge", "upgrade NEW-VERSION", …; rpm: the number of versions that
# remain. What is in /run stays for the applications that use it, and goes with the
# boot.
set -e

case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
	fi
	;;
purge)
	# An administrator's switch; the configuration itself is dpkg's to remove.
	rm -f /etc/bootagent/disabled
	[ ! -d /etc/bootagent ] || rmdir --ignore-fail-on-non-empty /etc/bootagent
	# It owns no file that outlives a boot.
	if userdel=$(command -v userdel); then
		"$userdel" bootagent || true
	fi
	;;
esac
