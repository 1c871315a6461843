// Package cputime measures CPU time for benchmarks: of the machine, and of groups
// of processes, each with all its children, by cgroups.
package cputime
