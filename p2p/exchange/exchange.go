// Package exchange is the wire between peers: a small framed control channel over
// mutual TLS for each pair of hosts (bitmaps, haves, signed digests, cancel, ping),
// and framed TCP data connections on which pieces are asked for and answered by
// sendfile. Both arrive at one port; the first byte tells them apart.
package exchange

import (
	"context"
	"io"
	"net"
	"os"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
)

// Transport is the one door to the network. TCP implements it, and a virtual
// network for tests. Methods may be called concurrently.
type Transport interface {
	// Dial connects to addr (host:port). It returns when connected or when ctx ends.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// Listen accepts connections at addr until the listener is closed.
	Listen(addr string) (net.Listener, error)
}

// Message is one control message: Bitmap, Have, Digests, Prune, Graft, Revoke, Leave,
// Free, Cancel, Reading, AskToken, Token, Ping or Pong.
type Message interface{ isMessage() }

// Bitmap says that the sender takes part in a task and holds these pieces. It is
// sent when a link comes up, when a task is joined, and when the geometry becomes
// known. Geometry is zero and Have nil while the sender does not know the size.
type Bitmap struct {
	Task     p2p.TaskID
	Geometry p2p.Geometry
	Have     *p2p.PieceSet
}

// Have says that the sender holds these pieces now, too. The digests of all of
// them were sent before on the same link, or came from the receiver, or the receiver
// said Prune. Haves that wait together arrive as one, its pieces in rising order.
type Have struct {
	Task   p2p.TaskID
	Pieces []p2p.Piece
}

// Digests relays a signed batch.
type Digests struct{ Batch trust.Batch }

// Prune says that batches of a task which come from the receiver had come from elsewhere:
// until Graft it relays none of them, but for a final one.
type Prune struct{ Task p2p.TaskID }

// Graft takes back Prune, and asks for the digests of these pieces: the receiver said Have
// of them, and they came from nowhere else.
type Graft struct {
	Task   p2p.TaskID
	Pieces []p2p.Piece // at least one
}

// Revoke relays a revocation.
type Revoke struct{ Revocation trust.Revocation }

// Leave says that the sender no longer holds a task.
type Leave struct{ Task p2p.TaskID }

// Free says that a host which answered Busy would serve now.
type Free struct{}

// Cancel withdraws the requests with an ID on all of the sender's data connections
// to the receiver; the pieces of which no byte was sent are answered StatusCancelled,
// if they were not served in the meantime. Exchange handles it itself.
type Cancel struct{ ID uint32 }

// Reading says where a task's bytes were read. It is sent before the digests and the
// bitmap of the task, so that who holds a piece knows where it is from.
type Reading struct {
	Task    p2p.TaskID
	Reading p2p.Reading
}

// AskToken asks for a bearer token that opens an origin of a task. It is a seed's to ask.
type AskToken struct {
	Task   p2p.TaskID
	Origin p2p.Origin
}

// Token answers AskToken. It is for this origin and this task alone, is kept in memory
// for as long as the origin is read, and goes to links whose peer is a seed by its
// certificate (Link.Seed).
type Token struct {
	Task   p2p.TaskID
	Origin p2p.Origin
	Bearer p2p.Secret // without its scheme; "" = there is none to give
}

// Ping asks for a Pong with the same nonce. Exchange answers and sends them itself; a link
// on which nothing came for Config.IdleTimeout is closed.
type Ping struct{ Nonce uint64 }

// Pong answers Ping.
type Pong struct{ Nonce uint64 }

func (Bitmap) isMessage()   {}
func (Have) isMessage()     {}
func (Digests) isMessage()  {}
func (Prune) isMessage()    {}
func (Graft) isMessage()    {}
func (Revoke) isMessage()   {}
func (Leave) isMessage()    {}
func (Free) isMessage()     {}
func (Cancel) isMessage()   {}
func (Reading) isMessage()  {}
func (AskToken) isMessage() {}
func (Token) isMessage()    {}
func (Ping) isMessage()     {}
func (Pong) isMessage()     {}

// AnyPiece as Request.First leaves the choice to the server: a seed answers with a piece
// that it sent to nobody yet and the asker lacks, and may take its time over it. Such a
// request is answered out of turn, and no stall time runs meanwhile.
const AnyPiece = ^p2p.Piece(0)

// Request asks for a run of pieces of a task. Each piece is answered by a reply of its own.
type Request struct {
	ID     uint32 // chosen by the asker, unique among its connections to one host
	Task   p2p.TaskID
	First  p2p.Piece
	Count  uint16 // pieces, at least 1; 1 with AnyPiece
	Offset uint32 // bytes to skip in the first piece, to resume it
	Class  p2p.Class
	// Length, where it is not 0, asks for a part: that many bytes from Offset on, at most
	// MaxPart, in one reply; Count is 1, and the part may go on in the pieces behind First.
	// It is for hosts whose Link says Parts. Nobody can check a part against the digests of
	// pieces.
	Length uint32
}

// MaxPart is the length in bytes of the longest part that may be asked for.
const MaxPart = 4 << 20

// Status is how a request was answered.
type Status uint8

const (
	StatusOK        Status = iota // the bytes follow
	StatusBusy                    // no upload slot now; a Free follows on the link when there is one
	StatusNotHeld                 // the server does not hold the piece
	StatusNoFresh                 // AnyPiece: every piece that the asker lacks was sent to somebody already
	StatusCancelled               // withdrawn by Cancel
	StatusRefused                 // the server does not exchange this task with the asker
)

// Reply is the header of an answer. With StatusOK, Length bytes follow, beginning
// Offset bytes into Piece.
type Reply struct {
	ID     uint32
	Status Status
	Piece  p2p.Piece
	Offset uint32
	Length uint32
}

// Answer is what a Handler lets be sent: File from Start for Length bytes, or the
// same bytes from Reader where File is nil. Done is called once, when the bytes are
// sent or sending failed, with the number sent.
//
// With Wait, which is for requests of AnyPiece, nothing is answered yet. Wait is called
// at once; the again that it is given lets Serve be asked once more, before what came
// after, and reports false when the request is gone. It may be called at any time, with
// locks held. Gone is called once if the request is withdrawn or its connection ends
// before Serve was asked once more.
//
// Pace, if not nil, is called before every PaceLen bytes or fewer, and returns when they
// may be sent; its ctx ends with the connection.
type Answer struct {
	Status Status
	Piece  p2p.Piece
	File   *os.File
	Reader io.ReaderAt
	Start  int64 // in the file, in bytes
	Length int64 // bytes; from Start to the end of the piece, or of the part that is asked for
	Done   func(sent int64, err error)
	Wait   func(again func() bool)
	Gone   func()
	Pace   func(ctx context.Context, n int) error
}

// PaceLen is how many bytes are sent at a time where an Answer has a Pace.
const PaceLen = 64 << 10

// Handler is what a node does with what arrives. Methods of different links are
// called concurrently; those of one link one after the other, Connected first and
// Disconnected last. A link that replaces another of the same host is announced
// after the old one's Disconnected. Serve is called concurrently with them and, for
// the data connections of one host, with itself, but only between Connected and
// Disconnected.
type Handler interface {
	Connected(l Link)
	// Received takes one message; Ping, Pong and Cancel are handled before it. An
	// error closes the link. It holds up the link's next message.
	Received(l Link, m Message) error
	// Disconnected gives the reason; nil when this side closed the link.
	Disconnected(l Link, err error)
	// Serve answers one piece of a request of a host that has a link: r.First, with
	// r.Count the pieces that are left of the run. It must not block: where there is
	// no slot it says StatusBusy.
	Serve(from p2p.HostID, r Request) Answer
}

// Link is the control channel to one host.
type Link interface {
	// Host is the peer's identity, from its certificate.
	Host() p2p.HostID
	// Seed reports whether the peer's certificate has the role seed.
	Seed() bool
	// Parts reports whether the peer answers requests with a Length.
	Parts() bool
	// Send queues a message and returns at once. What cannot be delivered closes the
	// link; a peer that does not read has its link closed when the queue is full.
	Send(m Message)
	// Close closes the link, and the data connections in both directions at once;
	// what is queued is still delivered if that takes less than a second.
	// Disconnected follows.
	Close()
}

// Stream is a data connection to one host. Requests are answered in order, but for those
// of AnyPiece; Send and Next may be called concurrently with each other.
type Stream interface {
	// Send asks. It returns when the request is written.
	Send(r Request) error
	// Next reads the next reply. With StatusOK the reader gives the reply's bytes and
	// must be read to its end before Next is called again.
	Next() (Reply, io.Reader, error)
	// Close ends the connection at once; what is on its way is lost.
	Close() error
}
