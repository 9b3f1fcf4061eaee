package facts

import (
	"net"
	"net/netip"
)

// addresses lists the addresses by which others may reach this node: global
// unicast ones, private ranges too, of the links that are up.
func addresses() []string {
	list := []string{}
	links, _ := net.Interfaces()
	for _, link := range links {
		if link.Flags&net.FlagUp == 0 || link.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, _ := link.Addrs()
		for _, addr := range addrs {
			prefix, err := netip.ParsePrefix(addr.String())
			if err == nil && prefix.Addr().IsGlobalUnicast() {
				list = append(list, prefix.Addr().String())
			}
		}
	}
	return list
}
