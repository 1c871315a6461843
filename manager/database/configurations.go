package database

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"

	"github.com/darter-p2p/darter/manager/model"
)

// AppendConfiguration makes c the newest configuration of its cluster; its version and
// time are set. If based is not negative it must be the version that is newest now (0
// = there is none), else ErrFailedPrecondition: somebody else was faster.
func (s *Store) AppendConfiguration(ctx context.Context, c *model.Configuration, based int64, now time.Time) error {
	c.CreatedAt = model.At(now)
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, c.ClusterID); err != nil {
			return err
		}
		if based >= 0 {
			newest, err := newestConfiguration(tx, c.ClusterID)
			if err != nil {
				return err
			}
			if newest.ID != based {
				return fmt.Errorf("the configuration is at version %d, not %d: %w", newest.ID, based, errdefs.ErrFailedPrecondition)
			}
		}
		c.ID = 0
		return create(tx, c)
	})
}

// lockCluster keeps others from writing a cluster's configuration until the
// transaction ends. Cluster 0 has no row: its writers are kept apart by the first
// migration's.
func (s *Store) lockCluster(tx *gorm.DB, id int64) error {
	statement, arg := "SELECT id FROM clusters WHERE id = ?", id
	if id == 0 {
		statement, arg = "SELECT version FROM schema_migrations WHERE version = ?", 1
	}
	if s.kind != SQLite { // whose transactions are one at a time
		statement += " FOR UPDATE"
	}
	var found []int64
	if err := tx.Raw(statement, arg).Scan(&found).Error; err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("no cluster %d: %w", id, errdefs.ErrNotFound)
	}
	return nil
}

// NewestConfiguration returns a cluster's configuration, with ID 0 and no settings
// where there is none.
func (s *Store) NewestConfiguration(ctx context.Context, cluster int64) (*model.Configuration, error) {
	return newestConfiguration(s.db.WithContext(ctx), cluster)
}

func newestConfiguration(db *gorm.DB, cluster int64) (*model.Configuration, error) {
	var rows []model.Configuration
	if err := db.Where("cluster_id = ?", cluster).Order("id DESC").Limit(1).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("get configuration: %w", classify(err))
	}
	if len(rows) == 0 {
		return &model.Configuration{ClusterID: cluster}, nil
	}
	return &rows[0], nil
}

// Effective returns what holds in a cluster: its own settings over those of all
// clusters. The version is the greater of the two.
func (s *Store) Effective(ctx context.Context, cluster int64) (version int64, settings model.Settings, err error) {
	all, err := s.NewestConfiguration(ctx, 0)
	if err != nil {
		return 0, settings, err
	}
	own, err := s.NewestConfiguration(ctx, cluster)
	if err != nil {
		return 0, settings, err
	}
	return max(all.ID, own.ID), own.Settings.Over(all.Settings), nil
}

// Rollback makes the settings of an earlier version those of a new one.
func (s *Store) Rollback(ctx context.Context, version int64, author string, now time.Time) (*model.Configuration, error) {
	old, err := Get[model.Configuration](ctx, s, version)
	if err != nil {
		return nil, err
	}
	c := &model.Configuration{
		ClusterID: old.ClusterID,
		Settings:  old.Settings,
		Author:    author,
		Comment:   fmt.Sprintf("rollback to version %d", version),
	}
	return c, s.AppendConfiguration(ctx, c, -1, now)
}

// Revision returns numbers that change with what Watchers are told: the newest
// configuration, and the latest change of clusters, active schedulers, pinned
// members, applications and revoked certificates.
func (s *Store) Revision(ctx context.Context) (Revision, error) {
	var r Revision
	err := s.db.WithContext(ctx).Raw(`SELECT
		(SELECT COALESCE(MAX(id), 0) FROM configurations) AS configuration,
		(SELECT COALESCE(MAX(updated_at), 0) FROM clusters) AS clusters,
		(SELECT COUNT(*) FROM clusters) AS cluster_count,
		(SELECT COALESCE(MAX(updated_at), 0) FROM members WHERE role = 'scheduler') AS schedulers,
		(SELECT COUNT(*) FROM members WHERE role = 'scheduler' AND state = 'active') AS scheduler_count,
		(SELECT COALESCE(MAX(updated_at), 0) FROM members WHERE pinned = ?) AS pins,
		(SELECT COUNT(*) FROM members WHERE pinned = ?) AS pin_count,
		(SELECT COALESCE(MAX(updated_at), 0) FROM applications) AS applications,
		(SELECT COUNT(*) FROM applications) AS application_count,
		(SELECT COALESCE(MAX(revoked_at), 0) FROM certificates) AS revocations,
		(SELECT COUNT(*) FROM certificates WHERE revoked_at > 0) AS revocation_count`, true, true).Scan(&r).Error
	if err != nil {
		return r, fmt.Errorf("get revision: %w", classify(err))
	}
	return r, nil
}

// Revision is a state of the rows that members are told of. Two that are equal stand
// for equal rows, unless rows changed twice within a millisecond.
type Revision struct {
	Configuration, Clusters, ClusterCount, Schedulers, SchedulerCount, Pins, PinCount, Applications, ApplicationCount int64
	Revocations, RevocationCount                                                                                      int64
}
