// Package serial shares contents that can only be read from their first byte to their
// last: those whose size their origin does not say (chunked answers), and those that have
// no validator, so that nothing proves that a second request gives the same bytes. One
// seed reads such a content once, in order, and cuts it into segments of known size while
// it comes. Each segment is a task of the piece network like any other; its head says
// what follows. DESIGN.md has the reasons.
package serial
