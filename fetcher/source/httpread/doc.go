// Package httpread reads the answers of HTTP origins: it checks them against the range
// that was asked for, bounds the waiting for their bytes, and says where a redirect
// leads. The sources of registries and of URLs are built on it.
package httpread
