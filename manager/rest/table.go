package rest

import "slices"

// table returns every route.
func (a *API) table() []route {
	return slices.Concat(
		a.sessionRoutes(), a.signInRoutes(), a.clusterRoutes(), a.memberRoutes(), a.applicationRoutes(), a.configurationRoutes(),
		a.jobRoutes(), a.userRoutes(), a.roleRoutes(), a.tokenRoutes(), a.providerRoutes(), a.auditRoutes(), a.joinRoutes(),
	)
}

// read and write are the rights of a kind of object.
func read(object string) right  { return right{object: object, action: "read"} }
func write(object string) right { return right{object: object, action: "write"} }
