package darterdv1

const (
	// BlobPath answers GET with a part of a blob of a registry, from the piece network
	// where it can be shared; darter-rafs is its user. The request has a Range of the form
	// bytes=<first>-<last>; the answer is 206 with exactly these bytes. A body that cannot
	// be finished is cut. Refusals hold an Error with a Code.
	BlobPath = "/v1/blob"
	// RegistryParam and RepositoryParam say where the blob is, as containerd names them;
	// DigestParam which one it is.
	RegistryParam   = "registry"
	RepositoryParam = "repository"
	// ManifestParam is the digest of a manifest of the same repository that names the blob;
	// it need not be there.
	ManifestParam = "manifest"
	// NeedParam says who waits: NeedUrgent, NeedWindow or NeedBackground.
	NeedParam = "need"
	// VerifiesParam with the value 1 says that the asker uses no byte before he has
	// compared it with a digest that he has from elsewhere. With NeedUrgent the bytes may
	// then be those of one node of the cluster, which UnverifiedHeader names, and which
	// nobody has verified.
	VerifiesParam    = "verifies"
	UnverifiedHeader = "X-Darter-Unverified"
	// WrongPath takes a POST with DigestParam and HostParam: bytes of that blob which came
	// from that host (UnverifiedHeader) were wrong, and those that came verified were right. 204.
	WrongPath = "/v1/blob/wrong"
	HostParam = "host"
	// OriginParam with the value 1 asks for the registry's own bytes, past the piece network.
	OriginParam = "origin"
)

// Values of NeedParam.
const (
	NeedUrgent     = "urgent"     // a program is blocked
	NeedWindow     = "window"     // a program will want it soon
	NeedBackground = "background" // nobody waits
)
