package p2p

import "hash/fnv"

// Weight is the rendezvous hash of a task and a name of somebody who may take care of
// it: the task falls to the heaviest, so that one who comes or goes moves only its own share.
func Weight(t TaskID, name string) uint64 {
	f := fnv.New64a()
	var buf [TaskIDLen]byte
	f.Write(t.AppendBinary(buf[:0]))
	f.Write([]byte(name))
	x := f.Sum64() // its high bits barely depend on the last bytes: mix
	x = (x ^ x>>32) * 0x9e3779b97f4a7c15
	x = (x ^ x>>29) * 0xbf58476d1ce4e5b9
	return x ^ x>>32
}
