// Package rest is the manager's HTTP API below /api/v1. Every route is one entry of a
// table: path, right, parameters, body and answer. The OpenAPI document is made of the
// same table, so that each route is in it and no other; openapi.json is the copy that
// people read and a test compares.
//
// Answers are JSON, errors problem+json (RFC 9457). A request is refused for an unknown
// parameter or field, a wrong content type or a large body. Every request that changes
// something, or is refused, is audited.
package rest
