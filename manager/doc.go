// Package manager is the place of darter-manager: clusters, dynamic configuration,
// users and roles, jobs such as preheat, a REST API and a web console. The code is in
// the packages below; DESIGN.md shows how they stand to each other.
package manager
