package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"

	"github.com/darter-p2p/darter/manager/model"
)

// CreateMember inserts a member that an operator knows of before it connects; ID and
// times are set.
func (s *Store) CreateMember(ctx context.Context, m *model.Member, now time.Time) error {
	m.ID, m.CreatedAt, m.UpdatedAt = 0, model.At(now), model.At(now)
	return create(s.db.WithContext(ctx), m)
}

// UpdateMember writes all of a member but its time of creation.
func (s *Store) UpdateMember(ctx context.Context, m *model.Member, now time.Time) error {
	m.UpdatedAt = model.At(now)
	return save(s.db.WithContext(ctx).Omit("created_at"), m)
}

// DeleteMember deletes a member. One that still connects comes back.
func (s *Store) DeleteMember(ctx context.Context, id int64) error {
	return remove[model.Member](s.db.WithContext(ctx), id)
}

// MemberByName returns the member with an identity.
func (s *Store) MemberByName(ctx context.Context, role model.Role, name string) (*model.Member, error) {
	return find[model.Member](ctx, s, "role = ? AND name = ?", role, name)
}

// ConnectMember writes what a member that connected says of itself: it is active from
// now on. A member unknown so far is inserted.
func (s *Store) ConnectMember(ctx context.Context, m *model.Member, now time.Time) error {
	m.State, m.SeenAt, m.UpdatedAt = model.Active, model.At(now), model.At(now)
	for range 2 { // another manager may insert it between
		err := s.transaction(ctx, func(tx *gorm.DB) error {
			var there model.Member
			err := tx.Where("role = ? AND name = ?", m.Role, m.Name).Take(&there).Error
			if errors.Is(err, gorm.ErrRecordNotFound) {
				m.ID, m.CreatedAt = 0, model.At(now)
				return create(tx, m)
			}
			if err != nil {
				return err
			}
			m.ID, m.CreatedAt, m.Pinned = there.ID, there.CreatedAt, there.Pinned
			if there.Pinned { // by an operator, whatever the member says
				m.ClusterID = there.ClusterID
			}
			return save(tx, m)
		})
		if !errdefs.IsAlreadyExists(err) {
			return err
		}
	}
	return fmt.Errorf("connect %s %s: %w", m.Role, m.Name, errdefs.ErrUnavailable)
}

// Sighting is that a member was heard of.
type Sighting struct {
	ID            int64
	ConfigVersion int64
}

// seenBatch bounds the identities in one statement.
const seenBatch = 500

// SeenMembers notes that members were heard of now.
func (s *Store) SeenMembers(ctx context.Context, seen []Sighting, now time.Time) error {
	byVersion := map[int64][]int64{}
	for _, one := range seen {
		byVersion[one.ConfigVersion] = append(byVersion[one.ConfigVersion], one.ID)
	}
	return s.transaction(ctx, func(tx *gorm.DB) error {
		for version, ids := range byVersion {
			for len(ids) > 0 {
				n := min(len(ids), seenBatch)
				err := tx.Model(&model.Member{}).Where("id IN ?", ids[:n]).
					Updates(map[string]any{"seen_at": model.At(now), "state": model.Active, "config_version": version}).Error
				if err != nil {
					return fmt.Errorf("note members: %w", classify(err))
				}
				ids = ids[n:]
			}
		}
		return nil
	})
}

// ExpireMembers makes those inactive that were not heard of since before, and returns
// how many.
func (s *Store) ExpireMembers(ctx context.Context, before, now time.Time) (int64, error) {
	answer := s.db.WithContext(ctx).Model(&model.Member{}).
		Where("state = ? AND seen_at < ?", model.Active, model.At(before)).
		Updates(map[string]any{"state": model.Inactive, "updated_at": model.At(now)})
	if answer.Error != nil {
		return 0, fmt.Errorf("expire members: %w", classify(answer.Error))
	}
	return answer.RowsAffected, nil
}

// ActiveSchedulers returns the active schedulers of every cluster, by cluster.
func (s *Store) ActiveSchedulers(ctx context.Context) (map[int64][]model.Member, error) {
	rows, _, err := List[model.Member](ctx, s, Query{Where: map[string]any{"role": model.RoleScheduler, "state": model.Active}})
	if err != nil {
		return nil, err
	}
	by := map[int64][]model.Member{}
	for _, m := range rows {
		by[m.ClusterID] = append(by[m.ClusterID], m)
	}
	return by, nil
}
