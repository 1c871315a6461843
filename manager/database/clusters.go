package database

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"

	"github.com/darter-p2p/darter/manager/model"
)

// CreateCluster inserts a cluster; ID and times are set.
func (s *Store) CreateCluster(ctx context.Context, c *model.Cluster, now time.Time) error {
	c.ID, c.CreatedAt, c.UpdatedAt = 0, model.At(now), model.At(now)
	return create(s.db.WithContext(ctx), c)
}

// UpdateCluster writes all of a cluster but its time of creation.
func (s *Store) UpdateCluster(ctx context.Context, c *model.Cluster, now time.Time) error {
	c.UpdatedAt = model.At(now)
	return save(s.db.WithContext(ctx).Omit("created_at"), c)
}

// DeleteCluster deletes a cluster without members, with its configurations. One with
// members is ErrFailedPrecondition.
func (s *Store) DeleteCluster(ctx context.Context, id int64) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		var members int64
		if err := tx.Model(&model.Member{}).Where("cluster_id = ?", id).Count(&members).Error; err != nil {
			return err
		}
		if members > 0 {
			return fmt.Errorf("delete cluster: it has %d members: %w", members, errdefs.ErrFailedPrecondition)
		}
		if err := tx.Where("cluster_id = ?", id).Delete(&model.Configuration{}).Error; err != nil {
			return err
		}
		return remove[model.Cluster](tx, id)
	})
}

// ClusterByName returns the cluster of a name.
func (s *Store) ClusterByName(ctx context.Context, name string) (*model.Cluster, error) {
	return find[model.Cluster](ctx, s, "name = ?", name)
}

// CreateApplication inserts an application; ID and times are set.
func (s *Store) CreateApplication(ctx context.Context, a *model.Application, now time.Time) error {
	a.ID, a.CreatedAt, a.UpdatedAt = 0, model.At(now), model.At(now)
	return create(s.db.WithContext(ctx), a)
}

// UpdateApplication writes all of an application but its time of creation.
func (s *Store) UpdateApplication(ctx context.Context, a *model.Application, now time.Time) error {
	a.UpdatedAt = model.At(now)
	return save(s.db.WithContext(ctx).Omit("created_at"), a)
}

// DeleteApplication deletes an application.
func (s *Store) DeleteApplication(ctx context.Context, id int64) error {
	return remove[model.Application](s.db.WithContext(ctx), id)
}
