// Package access says who calls the manager and what they may: users with passwords,
// sessions of browsers, personal access tokens of programs, and roles by casbin.
//
// Secrets of sessions and tokens are 256 random bits; the database holds their SHA-256
// only. Passwords are hashed by argon2id. Failures are counted and slowed down.
//
// Errors: ErrUnauthenticated for whoever cannot be believed, without saying why;
// ErrPermissionDenied for a right that is missing; a *TooMany (ErrResourceExhausted)
// for whoever failed too often.
package access
