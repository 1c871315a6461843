// Package jobs does the manager's jobs: preheat, delete, gc, sync and "who has this
// image". A job is a row with a lease; a Worker claims it, has a seed resolve the image,
// has nodes do their parts by api/node/v1, and writes an item for each node and content.
// The manager itself never talks to a registry and moves no content.
//
// What is decided (arguments, which nodes, what the items add up to) is pure; Worker and
// the agents are the shell.
package jobs
