package model

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Role is what a member of a cluster does. The words are those of its certificate.
type Role string

// The roles of members.
const (
	RoleScheduler Role = "scheduler"
	RoleSeed      Role = "seed"
	RoleNode      Role = "node"
)

// State is whether a member is up.
type State string

// The states of members.
const (
	Active   State = "active"
	Inactive State = "inactive"
)

// Member is a scheduler, seed or node of a cluster. Role and Name together are its
// identity: those of its certificate.
type Member struct {
	ID        int64  `json:"id" gorm:"primaryKey"`
	Role      Role   `json:"role"`
	Name      string `json:"name"`
	ClusterID int64  `json:"cluster_id"`
	// Pinned keeps the member in its cluster whatever the scopes say.
	Pinned   bool   `json:"pinned"`
	Hostname string `json:"hostname,omitempty"`
	IP       string `json:"ip,omitempty"`
	// Address is where others reach it, host:port: of a scheduler its gRPC, of a node its pieces.
	Address string `json:"address,omitempty"`
	// JobAddress is where the manager reaches its job service, host:port; empty where it serves none.
	JobAddress string `json:"job_address,omitempty"`
	IDC        string `json:"idc,omitempty" gorm:"column:idc"`
	Location   string `json:"location,omitempty"`
	Version    string `json:"version,omitempty"`
	State      State  `json:"state"`
	// ConfigVersion is the newest configuration that the member says is in force.
	ConfigVersion int64 `json:"config_version"`
	SeenAt        Time  `json:"seen_at,omitzero"`
	CreatedAt     Time  `json:"created_at" gorm:"autoCreateTime:false"`
	UpdatedAt     Time  `json:"updated_at" gorm:"autoUpdateTime:false"`
}

// Validate checks what a member says of itself or an operator of it.
func (m *Member) Validate() error {
	if !slices.Contains([]Role{RoleScheduler, RoleSeed, RoleNode}, m.Role) {
		return invalid("role", "%.40q, want scheduler, seed or node", string(m.Role))
	}
	if err := checkName("name", m.Name); err != nil {
		return err
	}
	if m.State != Active && m.State != Inactive {
		return invalid("state", "%.40q, want active or inactive", string(m.State))
	}
	if m.IP != "" {
		if _, err := netip.ParseAddr(m.IP); err != nil {
			return invalid("ip", "%.60q is no address", m.IP)
		}
	}
	if m.Address != "" {
		if err := checkAddress("address", m.Address); err != nil {
			return err
		}
	}
	if m.JobAddress != "" {
		if err := checkAddress("job_address", m.JobAddress); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, text string }{{"hostname", m.Hostname}, {"idc", m.IDC}, {"version", m.Version}} {
		if len(f.text) > 255 {
			return invalid(f.name, "%d bytes, want at most 255", len(f.text))
		}
		if err := checkText(f.name, f.text); err != nil {
			return err
		}
	}
	return checkLocation("location", m.Location)
}

// checkAddress reports what is not host:port.
func checkAddress(field, address string) error {
	if err := checkText(field, address); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || len(address) > 255 {
		return invalid(field, "%.60q, want host:port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return invalid(field, "%.60q, want a port from 1 to 65535", address)
	}
	return nil
}
