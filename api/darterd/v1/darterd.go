// Package darterdv1 is what darterd says of itself: JSON over HTTP on a Unix socket
// of its host. People see it through the program darter; programs may read it as it
// is. Fields are added, never renamed or given another meaning; a reader ignores those
// that it does not know.
//
// Sizes are bytes, rates bytes per second, times RFC 3339. A time that has not come
// is left out, and so are empty strings and lists.
package darterdv1

import "time"

const (
	// DefaultSocket is where darterd listens.
	DefaultSocket = "/run/darter/darterd.sock"
	// StatusPath answers GET with a Status.
	StatusPath = "/v1/status"
	// TasksPath answers GET with a Tasks.
	TasksPath = "/v1/tasks"
	// ExplainPath answers GET with an Explanation of its parameter WhatParam: a task
	// ("sha256:<hex>", "url:<hex>"), a digest or its first 12 hex digits or more, or an
	// image reference that this node has pulled. 404 with an Error for what is not known.
	ExplainPath = "/v1/explain"
	// WhatParam is ExplainPath's query parameter.
	WhatParam = "what"

	// ContentPath answers GET with the bytes of an http or https URL, from the piece
	// network where they can be shared: 200, or 206 for a Range of one part that does
	// not count from the end. Content-Length is missing where the origin does not say
	// the size. A body that cannot be finished is cut. Refusals hold an Error with a Code.
	ContentPath = "/v1/content"
	// URLParam names what to read; the other parameters of ContentPath are optional.
	URLParam = "url"
	// TagParam and ApplicationParam tell contents of one URL apart.
	TagParam         = "tag"
	ApplicationParam = "application"
	// DigestParam is the sha256 digest that the content should have; the reader checks it.
	DigestParam = "digest"
	// ValidatorParam is a ValidatorHeader of an earlier answer: another generation of
	// the content is refused with CodeChanged.
	ValidatorParam = "validator"
	// HeaderParam is a header for the origin, "Name: value"; it may be repeated.
	HeaderParam = "header"
	// ValidatorHeader is an answer's generation; without it the reading of what is left
	// of a broken body cannot be resumed.
	ValidatorHeader = "X-Darter-Validator"
	// FromHeader is where the first byte comes from: "store", "swarm" or "origin".
	FromHeader = "X-Darter-From"
	// DigestHeader is the sha256 of the whole content as the seed computed it that read it:
	// a header where it is known before the body, and where neither it nor the length is, a
	// trailer. It is the seed's word, not a check of these bytes.
	DigestHeader = "X-Darter-Digest"
)

// Codes of an Error of ContentPath.
const (
	CodeInvalid      = "invalid"      // the request
	CodeUnauthorized = "unauthorized" // the origin wants a credential, or another one
	CodeDenied       = "denied"       // darterd's upstream lists do not allow it
	CodeNotFound     = "not_found"    // says the origin
	CodeChanged      = "changed"      // another generation is there
	CodeOutOfRange   = "out_of_range" // no byte of the content is in the range
	CodeUnavailable  = "unavailable"  // the origin fails, or asks for patience
	CodeFailed       = "failed"       // anything else
)

// Error is the body of every answer that is not 200.
type Error struct {
	Message string `json:"message"`        // a sentence for people
	Code    string `json:"code,omitempty"` // of ContentPath: a Code…
}

// Status is the state of a node.
type Status struct {
	Version            string      `json:"version"`
	Host               string      `json:"host"` // its name in the cluster
	Cluster            string      `json:"cluster"`
	Role               string      `json:"role"`    // "node" or "seed"
	Address            string      `json:"address"` // host:port of its piece network
	Zone               string      `json:"zone,omitempty"`
	Rack               string      `json:"rack,omitempty"`
	Started            time.Time   `json:"started"`
	Ready              bool        `json:"ready"`
	Reason             string      `json:"reason,omitempty"` // why it is not ready
	CertificateExpires time.Time   `json:"certificate_expires,omitzero"`
	Schedulers         []Scheduler `json:"schedulers"`
	Manager            *Manager    `json:"manager,omitempty"`
	Links              int         `json:"links"` // control channels to other hosts that are up
	Tasks              TaskCounts  `json:"tasks"`
	Store              Store       `json:"store"`
	Bytes              Sources     `json:"bytes"`    // received since the start
	Uploaded           int64       `json:"uploaded"` // bytes sent to other hosts since the start
}

// State of the connection to a scheduler.
const (
	SchedulerConnected  = "connected"
	SchedulerConnecting = "connecting"
	SchedulerDown       = "down" // given up for now; downloads go straight to the origin
)

// Scheduler is the connection to one scheduler of the cluster.
type Scheduler struct {
	Address string    `json:"address"`
	Name    string    `json:"name,omitempty"` // as it says; "" before it answered
	State   string    `json:"state"`
	Since   time.Time `json:"since,omitzero"`  // of State
	Error   string    `json:"error,omitempty"` // the last one, where it is not connected
}

// Manager is what the node has from its manager.
type Manager struct {
	Address   string    `json:"address"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`    // of Connected, or of its loss
	Error     string    `json:"error,omitempty"`   // why it is not connected
	Version   int64     `json:"version"`           // of the settings in force; 0 = none
	Restored  bool      `json:"restored"`          // they are those that were kept on disk
	Refused   string    `json:"refused,omitempty"` // why the newest are not in force
	Cluster   string    `json:"cluster,omitempty"` // in which the manager put the node; "" = in none
	Because   []string  `json:"because,omitempty"` // why in this one
}

// TaskCounts counts the tasks that the node holds, whole or in part.
type TaskCounts struct {
	Held     int `json:"held"`
	Complete int `json:"complete"`
	Active   int `json:"active"` // downloading now
}

// Store is the space of the piece store, in bytes.
type Store struct {
	Dir      string `json:"dir"`
	Reserved int64  `json:"reserved"`  // by tasks held
	Quota    int64  `json:"quota"`     // 0 = none
	DiskFree int64  `json:"disk_free"` // of the file system
	Floor    int64  `json:"floor"`     // free space left to others
}

// Sources says where bytes came from.
type Sources struct {
	FromPeers  int64 `json:"from_peers"`  // nodes that are not seeds
	FromSeed   int64 `json:"from_seed"`   // seeds
	FromOrigin int64 `json:"from_origin"` // the node's own reads of the origin
}

// Total is the number of bytes of all sources.
func (s Sources) Total() int64 { return s.FromPeers + s.FromSeed + s.FromOrigin }

// State of a task.
const (
	TaskActive   = "active"   // downloading
	TaskPartial  = "partial"  // some pieces are held, nobody wants the rest
	TaskComplete = "complete" // held whole
	TaskFailed   = "failed"   // Explain.Error says why
	TaskRevoked  = "revoked"  // its bytes were not those of its digest
)

// Tasks lists the tasks that a node holds, the last used first.
type Tasks struct {
	Tasks []Task `json:"tasks"`
}

// Task is one task in a list.
type Task struct {
	Task   string    `json:"task"`
	Origin string    `json:"origin,omitempty"` // without credentials and query
	Size   int64     `json:"size"`             // -1 = not known yet
	Held   int64     `json:"held"`             // bytes that are here and verified
	State  string    `json:"state"`
	Used   time.Time `json:"used,omitzero"`
	Pins   []string  `json:"pins,omitempty"` // reasons to keep it
	Bytes  Sources   `json:"bytes"`
}

// Explanation answers ExplainPath: one task, or those of an image, lowest layer first.
type Explanation struct {
	What  string    `json:"what"`            // as it was asked
	Image string    `json:"image,omitempty"` // the full reference, where it was one
	Tasks []Explain `json:"tasks"`
}

// Explain says where the bytes of a task came from, and what went wrong on the way.
// What happened before darterd last started is not known: then the sources add up to
// less than Held.
type Explain struct {
	Task        string      `json:"task"`
	Origin      string      `json:"origin,omitempty"` // without credentials and query
	Size        int64       `json:"size"`             // -1 = not known yet
	PieceLength int64       `json:"piece_length"`
	Pieces      int         `json:"pieces"`      // of the whole task
	PiecesHeld  int         `json:"pieces_held"` // verified
	Held        int64       `json:"held"`        // bytes that are here and verified
	State       string      `json:"state"`
	Error       string      `json:"error,omitempty"`
	Digest      string      `json:"digest,omitempty"`    // sha256 of a URL's content, as the seed computed it; "" = not known
	DigestOK    *bool       `json:"digest_ok,omitempty"` // the whole content's own digest: right, wrong, or not checked (left out)
	Final       bool        `json:"final"`               // a seed vouched for the whole piece map
	SignedBy    []string    `json:"signed_by,omitempty"` // hosts that signed it
	Bytes       Sources     `json:"bytes"`
	Uploaded    int64       `json:"uploaded"` // bytes of this task sent to other hosts
	Neighbours  []Neighbour `json:"neighbours,omitempty"`
	Refused     []Refused   `json:"refused,omitempty"`
	Readers     int         `json:"readers"` // now
	Pins        []string    `json:"pins,omitempty"`
	Timing      Timing      `json:"timing"`
}

// Neighbour is one host that this task was exchanged with, also when it has left.
type Neighbour struct {
	Host     string  `json:"host"`
	Address  string  `json:"address,omitempty"`
	Seed     bool    `json:"seed"`
	Linked   bool    `json:"linked"` // its control channel is up
	Bytes    int64   `json:"bytes"`  // received from it
	Pieces   int     `json:"pieces"`
	Failures int     `json:"failures"`
	Rate     float64 `json:"rate"`     // mean while it was sending, bytes per second
	Uploaded int64   `json:"uploaded"` // sent to it
}

// Refused is a host or a source that this task takes nothing from.
type Refused struct {
	Host   string    `json:"host"`
	Reason string    `json:"reason"`
	Banned bool      `json:"banned"` // for good; else until Until
	At     time.Time `json:"at,omitzero"`
	Until  time.Time `json:"until,omitzero"`
}

// Timing is when things happened to a task since darterd started.
type Timing struct {
	Started   time.Time `json:"started,omitzero"`    // first asked for
	FirstByte time.Time `json:"first_byte,omitzero"` // of the content, from anywhere
	Completed time.Time `json:"completed,omitzero"`
}
