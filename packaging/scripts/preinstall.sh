#!/bin/sh
# deb: "install [OLD-VERSION]" or "upgrade OLD-VERSION"; rpm: the number of versions
# that will be installed.
set -e

# A deb that was removed, but not purged, and comes back is "configure OLD-VERSION"
# to its postinst, as an upgrade is. This mark tells the two apart, so that an
# upgrade never enables again what an administrator has disabled.
if [ "$1" = install ] && [ -n "$2" ]; then
	touch /run/bootagent.reinstall
fi
