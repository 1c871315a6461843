// Package oidc lets people sign in through an OpenID Connect provider: the authorization
// code flow with PKCE, state and nonce. It speaks with the provider and believes what its
// signed ID token says; whose account that is, is decided by package access.
//
// Errors: ErrUnauthenticated for an answer that cannot be believed, ErrPermissionDenied
// where the person or the provider refused, ErrUnavailable where the provider does not
// answer or does not know this manager, ErrResourceExhausted where too many sign in at once.
package oidc
