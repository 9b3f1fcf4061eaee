// Package packages has no code: it tests the deb and the rpm as they are
// released, on nodes and trees of their own. How the agent behaves is tested
// elsewhere; here it is enough that it starts.
package packages
