// Package node is the shell around the pure packages of the piece network: it runs a
// host's downloads and uploads with real links, a real store and real time. It takes
// part in tasks, tells neighbours what it holds, asks them for pieces, verifies and
// stores what comes, serves what is asked, reads the origin when the scheduler says
// so, and gives readers any range in order while it arrives.
//
// One lock guards all decisions; bytes move outside of it.
package node
