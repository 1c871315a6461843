package database

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"

	"github.com/darter-p2p/darter/manager/model"
)

// CreateUser inserts a user; ID and times are set.
func (s *Store) CreateUser(ctx context.Context, u *model.User, now time.Time) error {
	u.ID, u.CreatedAt, u.UpdatedAt = 0, model.At(now), model.At(now)
	return create(s.db.WithContext(ctx), u)
}

// CreateFirstUser inserts a user if there is none at all, and reports whether it did.
func (s *Store) CreateFirstUser(ctx context.Context, u *model.User, now time.Time) (made bool, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		made = false
		if err := s.lockCluster(tx, 0); err != nil {
			return err
		}
		var users int64
		if err := tx.Model(&model.User{}).Count(&users).Error; err != nil || users > 0 {
			return err
		}
		u.ID, u.CreatedAt, u.UpdatedAt = 0, model.At(now), model.At(now)
		made = true
		return create(tx, u)
	})
	return made && err == nil, err
}

// UpdateUser writes all of a user but its time of creation. The last user with the
// role root that is not disabled stays so, else ErrFailedPrecondition.
func (s *Store) UpdateUser(ctx context.Context, u *model.User, now time.Time) error {
	u.UpdatedAt = model.At(now)
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, 0); err != nil {
			return err
		}
		if err := save(tx.Omit("created_at"), u); err != nil {
			return err
		}
		return rootLeft(tx)
	})
}

// ReplaceHash writes another hash of the same password, unless the password was changed
// meanwhile.
func (s *Store) ReplaceHash(ctx context.Context, id int64, old, fresh string) error {
	return classify(s.db.WithContext(ctx).Model(&model.User{}).Where("id = ? AND password_hash = ?", id, old).
		UpdateColumn("password_hash", fresh).Error)
}

// DeleteUser deletes a user with its sessions and tokens. The last root stays.
func (s *Store) DeleteUser(ctx context.Context, id int64) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, 0); err != nil {
			return err
		}
		if err := tx.Where("user_id = ?", id).Delete(&model.AccessToken{}).Error; err != nil {
			return err
		}
		if err := tx.Where("user_id = ?", id).Delete(&model.Session{}).Error; err != nil {
			return err
		}
		if err := remove[model.User](tx, id); err != nil {
			return err
		}
		return rootLeft(tx)
	})
}

// rootLeft fails where nobody could administrate any more.
func rootLeft(tx *gorm.DB) error {
	var users []model.User
	if err := tx.Where("disabled = ?", false).Find(&users).Error; err != nil {
		return err
	}
	if !slices.ContainsFunc(users, func(u model.User) bool { return slices.Contains(u.Roles, model.RootRole) }) {
		return fmt.Errorf("no user with the role %s would be left: %w", model.RootRole, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// UserByName returns the user of a name.
func (s *Store) UserByName(ctx context.Context, name string) (*model.User, error) {
	return find[model.User](ctx, s, "name = ?", name)
}

// User returns the user with an identity.
func (s *Store) User(ctx context.Context, id int64) (*model.User, error) {
	return Get[model.User](ctx, s, id)
}

// UserBySubject returns the user who signs in through a provider as subject.
func (s *Store) UserBySubject(ctx context.Context, subject string) (*model.User, error) {
	if subject == "" {
		return nil, fmt.Errorf("get user: empty subject: %w", errdefs.ErrNotFound)
	}
	return find[model.User](ctx, s, "subject = ?", subject)
}

// maxSameName bounds the numbers that are tried behind a name.
const maxSameName = 1000

// EnsureSubject returns the user of u's subject, or else inserts u, called name or that with
// the first number that is free. Of two calls at once one inserts.
func (s *Store) EnsureSubject(ctx context.Context, u *model.User, name string, now time.Time) (out *model.User, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, 0); err != nil {
			return err
		}
		var there []model.User
		if err := tx.Where("subject = ?", u.Subject).Order("id").Limit(1).Find(&there).Error; err != nil {
			return err
		}
		if len(there) > 0 {
			out = &there[0]
			return nil
		}
		fresh := *u
		fresh.ID, fresh.CreatedAt, fresh.UpdatedAt = 0, model.At(now), model.At(now)
		fresh.Name = name
		for i := 2; ; i++ {
			var taken int64
			if err := tx.Model(&model.User{}).Where("name = ?", fresh.Name).Count(&taken).Error; err != nil {
				return err
			}
			if taken == 0 {
				break
			}
			if i > maxSameName {
				return fmt.Errorf("name %s: too many users are called so: %w", name, errdefs.ErrAlreadyExists)
			}
			fresh.Name = fmt.Sprintf("%s-%d", name, i)
		}
		out = &fresh
		return create(tx, out)
	})
	return out, err
}

// Roles returns all roles that are kept, in the order of their names.
func (s *Store) Roles(ctx context.Context) ([]model.AccessRole, error) {
	var rows []model.AccessRole
	if err := s.db.WithContext(ctx).Order("name").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list roles: %w", classify(err))
	}
	return rows, nil
}

// CreateRole inserts a role; its times are set.
func (s *Store) CreateRole(ctx context.Context, r *model.AccessRole, now time.Time) error {
	r.CreatedAt, r.UpdatedAt = model.At(now), model.At(now)
	return create(s.db.WithContext(ctx), r)
}

// UpdateRole writes all of a role but its time of creation.
func (s *Store) UpdateRole(ctx context.Context, r *model.AccessRole, now time.Time) error {
	r.UpdatedAt = model.At(now)
	return save(s.db.WithContext(ctx).Omit("created_at"), r)
}

// DeleteRole deletes a role that no user has, else ErrFailedPrecondition.
func (s *Store) DeleteRole(ctx context.Context, name string) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, 0); err != nil {
			return err
		}
		var users []model.User
		if err := tx.Find(&users).Error; err != nil {
			return err
		}
		for _, u := range users {
			if slices.Contains(u.Roles, name) {
				return fmt.Errorf("delete role: user %s has it: %w", u.Name, errdefs.ErrFailedPrecondition)
			}
		}
		answer := tx.Where("name = ?", name).Delete(&model.AccessRole{})
		if answer.Error == nil && answer.RowsAffected == 0 {
			return fmt.Errorf("delete role: no such role: %w", errdefs.ErrNotFound)
		}
		return answer.Error
	})
}

// CreateSession inserts a session.
func (s *Store) CreateSession(ctx context.Context, session *model.Session) error {
	session.ID = 0
	return create(s.db.WithContext(ctx), session)
}

// SessionByHash returns the session whose secret has a hash.
func (s *Store) SessionByHash(ctx context.Context, hash string) (*model.Session, error) {
	var out model.Session
	if err := s.db.WithContext(ctx).Where("hash = ?", hash).Take(&out).Error; err != nil {
		return nil, fmt.Errorf("get session: %w", classify(err))
	}
	return &out, nil
}

// DeleteSession ends one session; one that is not there is no error.
func (s *Store) DeleteSession(ctx context.Context, hash string) error {
	return classify(s.db.WithContext(ctx).Where("hash = ?", hash).Delete(&model.Session{}).Error)
}

// DeleteSessions ends all sessions of a user.
func (s *Store) DeleteSessions(ctx context.Context, user int64) error {
	return classify(s.db.WithContext(ctx).Where("user_id = ?", user).Delete(&model.Session{}).Error)
}

// CreateToken inserts a personal access token; ID and time are set.
func (s *Store) CreateToken(ctx context.Context, t *model.AccessToken, now time.Time) error {
	t.ID, t.CreatedAt = 0, model.At(now)
	return create(s.db.WithContext(ctx), t)
}

// TokenByHash returns the token whose secret has a hash.
func (s *Store) TokenByHash(ctx context.Context, hash string) (*model.AccessToken, error) {
	return find[model.AccessToken](ctx, s, "hash = ?", hash)
}

// UseToken notes when a token was used.
func (s *Store) UseToken(ctx context.Context, id int64, now time.Time) error {
	return classify(s.db.WithContext(ctx).Model(&model.AccessToken{}).Where("id = ?", id).Update("used_at", model.At(now)).Error)
}

// RevokeToken makes a token worthless.
func (s *Store) RevokeToken(ctx context.Context, id int64) error {
	answer := s.db.WithContext(ctx).Model(&model.AccessToken{}).Where("id = ?", id).Update("revoked", true)
	if answer.Error == nil && answer.RowsAffected == 0 {
		return fmt.Errorf("revoke token: no such token: %w", errdefs.ErrNotFound)
	}
	return classify(answer.Error)
}

// DeleteToken deletes a token.
func (s *Store) DeleteToken(ctx context.Context, id int64) error {
	return remove[model.AccessToken](s.db.WithContext(ctx), id)
}

// CreateProvider inserts a provider; ID and times are set.
func (s *Store) CreateProvider(ctx context.Context, p *model.Provider, now time.Time) error {
	p.ID, p.CreatedAt, p.UpdatedAt = 0, model.At(now), model.At(now)
	return create(s.db.WithContext(ctx), p)
}

// UpdateProvider writes all of a provider but its time of creation.
func (s *Store) UpdateProvider(ctx context.Context, p *model.Provider, now time.Time) error {
	p.UpdatedAt = model.At(now)
	return save(s.db.WithContext(ctx).Omit("created_at"), p)
}

// DeleteProvider deletes a provider. Its users stay and cannot sign in through it.
func (s *Store) DeleteProvider(ctx context.Context, id int64) error {
	return remove[model.Provider](s.db.WithContext(ctx), id)
}

// ProviderByName returns the provider of a name.
func (s *Store) ProviderByName(ctx context.Context, name string) (*model.Provider, error) {
	return find[model.Provider](ctx, s, "name = ?", name)
}

// WriteAudit inserts an entry.
func (s *Store) WriteAudit(ctx context.Context, a *model.Audit) error {
	a.ID = 0
	return create(s.db.WithContext(ctx), a)
}

// Sweep deletes sessions that have ended, join tokens and certificates that ended a month
// ago, and audits and ended jobs that are older than the bounds; zero bounds nothing.
func (s *Store) Sweep(ctx context.Context, now, audits, jobs time.Time) error {
	db := s.db.WithContext(ctx)
	if err := db.Where("expires_at < ?", model.At(now)).Delete(&model.Session{}).Error; err != nil {
		return fmt.Errorf("sweep sessions: %w", classify(err))
	}
	if err := sweepJoin(db, now); err != nil {
		return err
	}
	if !audits.IsZero() {
		if err := db.Where("at < ?", model.At(audits)).Delete(&model.Audit{}).Error; err != nil {
			return fmt.Errorf("sweep audits: %w", classify(err))
		}
	}
	if jobs.IsZero() {
		return nil
	}
	var old []int64
	err := db.Model(&model.Job{}).Where("finished_at > 0 AND finished_at < ?", model.At(jobs)).Limit(1000).Pluck("id", &old).Error
	if err != nil {
		return fmt.Errorf("sweep jobs: %w", classify(err))
	}
	for _, id := range old {
		if err := s.DeleteJob(ctx, id); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
			return err
		}
	}
	return nil
}
