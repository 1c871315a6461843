package device

// streams is how many sequential readers of one device are told apart.
const streams = 8

// pattern finds sequential readers in the reads of a device. It is not safe for
// concurrent use.
type pattern struct {
	s    [streams]stream
	tick uint64
}

// stream is one reader.
type stream struct {
	next int64 // where its next read is expected
	run  int64 // bytes that it has read in order
	used uint64
}

// slack is how far from the expected place a read may begin: the kernel reads ahead in
// pieces that arrive out of order.
const slack = 256 << 10

// read takes a read and returns how many bytes its reader has read in order, with this.
func (p *pattern) read(off, n int64) int64 {
	p.tick++
	oldest := 0
	for i := range p.s {
		s := &p.s[i]
		if s.used != 0 && off >= s.next-slack && off <= s.next+slack {
			if end := off + n; end > s.next {
				s.run += end - s.next
				s.next = end
			}
			s.used = p.tick
			return s.run
		}
		if s.used < p.s[oldest].used {
			oldest = i
		}
	}
	p.s[oldest] = stream{next: off + n, run: n, used: p.tick}
	return n
}

// ahead returns how many bytes to fetch beyond a reader who has read run bytes in order:
// half as many, so that what he does not want in the end is bounded by what he wanted.
func ahead(run, most int64) int64 {
	if run < 2*slack {
		return 0
	}
	return min(run/2, most)
}
