// Package manager is the place of darter-manager: clusters, dynamic configuration,
// users and roles, jobs such as preheat, a REST API and a web console. It has no
// code yet.
package manager
