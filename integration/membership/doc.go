// Package membership checks who is let in, over real sockets: hosts that joined by token, and
// those whose certificate ended, was revoked or is of another CA, at a manager, a scheduler
// and a node.
package membership
