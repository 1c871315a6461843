// Package model is the manager's rows and the rules that each must keep by itself. It
// knows no database and no wire; json tags name the fields as REST shows them, and
// fields that REST must never show have the tag "-".
//
// Validate methods return the first fault as an ErrInvalidArgument whose text begins
// with the field: `name: "A B" …`.
package model
