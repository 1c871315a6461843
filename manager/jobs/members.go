package jobs

import (
	"context"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// Members is the Nodes of a database: all seeds and nodes of a cluster. One that serves no
// jobs has no address, and fails its part with that.
type Members struct{ *database.Store }

// NodesOf implements Nodes.
func (m Members) NodesOf(ctx context.Context, cluster int64) ([]Node, error) {
	rows, _, err := database.List[model.Member](ctx, m.Store, database.Query{Where: map[string]any{"cluster_id": cluster}})
	if err != nil {
		return nil, err
	}
	var all []Node
	for _, r := range rows {
		if r.Role != model.RoleSeed && r.Role != model.RoleNode {
			continue
		}
		all = append(all, Node{
			Name: r.Name, Seed: r.Role == model.RoleSeed, Up: r.State == model.Active, IP: r.IP, Hostname: r.Hostname, Address: r.JobAddress,
		})
	}
	return all, nil
}
