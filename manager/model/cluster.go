package model

import (
	"net/netip"
	"slices"
	"strings"
)

// Cluster is schedulers, seeds and the nodes that they serve.
type Cluster struct {
	ID          int64  `json:"id" gorm:"primaryKey"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Scopes say which nodes the cluster is for.
	Scopes Scopes `json:"scopes,omitzero" gorm:"serializer:json"`
	// Default makes the cluster serve nodes that no scope names.
	Default bool `json:"is_default" gorm:"column:is_default"`
	// JobsPerMinute bounds the jobs that may be made for the cluster; 0 = no bound.
	JobsPerMinute int64 `json:"jobs_per_minute"`
	CreatedAt     Time  `json:"created_at" gorm:"autoCreateTime:false"`
	UpdatedAt     Time  `json:"updated_at" gorm:"autoUpdateTime:false"`
}

// Scopes are the places that a cluster serves.
type Scopes struct {
	CIDRs     []string `json:"cidrs,omitempty"`     // of nodes' addresses, "10.1.0.0/16"
	Hostnames []string `json:"hostnames,omitempty"` // regular expressions that match a part of the host name
	IDCs      []string `json:"idcs,omitempty"`      // zones
	Location  string   `json:"location,omitempty"`  // "region|zone|rack", most general first
}

// maxLocation is how many elements of a location count.
const maxLocation = 5

// Validate checks name and scopes.
func (c *Cluster) Validate() error {
	if err := checkName("name", c.Name); err != nil {
		return err
	}
	if err := checkText("description", c.Description); err != nil {
		return err
	}
	if c.JobsPerMinute < 0 || c.JobsPerMinute > 1e6 {
		return invalid("jobs_per_minute", "%d is not within 0 and 1000000", c.JobsPerMinute)
	}
	return c.Scopes.Validate()
}

// Validate checks every scope.
func (s *Scopes) Validate() error {
	err := checkList("scopes.cidrs", s.CIDRs, func(field, cidr string) error {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return invalid(field, "%.60q, want something like 10.0.0.0/8", cidr)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := checkList("scopes.hostnames", s.Hostnames, checkPattern); err != nil {
		return err
	}
	if err := checkList("scopes.idcs", s.IDCs, checkText); err != nil {
		return err
	}
	return checkLocation("scopes.location", s.Location)
}

// checkLocation reports a location with too many or empty elements.
func checkLocation(field, location string) error {
	if location == "" {
		return nil
	}
	if err := checkText(field, location); err != nil {
		return err
	}
	elements := strings.Split(location, "|")
	if len(elements) > maxLocation {
		return invalid(field, "%d elements, want at most %d", len(elements), maxLocation)
	}
	if slices.Contains(elements, "") {
		return invalid(field, "%.60q has an empty element", location)
	}
	return nil
}
