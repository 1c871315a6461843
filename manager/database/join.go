package database

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"

	"github.com/darter-p2p/darter/manager/model"
)

// Authority remembers the fingerprint of the CA by which members join. Another one than
// that of the first manager is ErrFailedPrecondition: members of two CAs do not know each
// other.
func (s *Store) Authority(ctx context.Context, pin string, now time.Time) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, 0); err != nil {
			return err
		}
		var pins []string
		if err := tx.Table("authorities").Where("id = 1").Pluck("pin", &pins).Error; err != nil {
			return err
		}
		switch {
		case len(pins) == 0:
			return tx.Exec("INSERT INTO authorities (id, pin, created_at) VALUES (1, ?, ?)", pin, model.At(now)).Error
		case pins[0] != pin:
			return fmt.Errorf("another manager of this database has another CA (fingerprint %.16s…, here %.16s…): give all the same: %w",
				pins[0], pin, errdefs.ErrFailedPrecondition)
		}
		return nil
	})
}

// CreateJoinToken inserts a token; ID and time are set.
func (s *Store) CreateJoinToken(ctx context.Context, t *model.JoinToken, now time.Time) error {
	t.ID, t.CreatedAt = 0, model.At(now)
	return create(s.db.WithContext(ctx), t)
}

// JoinTokenByHash returns the token whose secret has a hash.
func (s *Store) JoinTokenByHash(ctx context.Context, hash string) (*model.JoinToken, error) {
	return find[model.JoinToken](ctx, s, "hash = ?", hash)
}

// RevokeJoinToken makes a token worthless. Hosts that joined with it stay.
func (s *Store) RevokeJoinToken(ctx context.Context, id int64) error {
	answer := s.db.WithContext(ctx).Model(&model.JoinToken{}).Where("id = ?", id).Update("revoked", true)
	if answer.Error == nil && answer.RowsAffected == 0 {
		return fmt.Errorf("revoke join token: no such token: %w", errdefs.ErrNotFound)
	}
	return classify(answer.Error)
}

// Admit takes one use of the token c.TokenID and keeps the certificate of the host that
// joins with it, both or neither. A token that is not good now is ErrNotFound; a name that
// a member with a good certificate has is ErrAlreadyExists; one that was revoked after the
// token was made is ErrPermissionDenied, so that who was put out does not come back with
// the token that it kept. A host that asks again with the same token and key, because it
// did not hear the answer, costs no other use.
func (s *Store) Admit(ctx context.Context, c *model.Certificate, now time.Time) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockMembers(tx); err != nil {
			return err
		}
		var t model.JoinToken
		if err := tx.Where("id = ?", c.TokenID).Take(&t).Error; err != nil {
			return classify(err)
		}
		var held []model.Certificate
		if err := tx.Where("role = ? AND name = ?", c.Role, c.Name).Find(&held).Error; err != nil {
			return err
		}
		again := false
		for _, h := range held {
			switch {
			case h.RevokedAt.IsZero() && h.KeyHash == c.KeyHash && h.TokenID == c.TokenID && c.KeyHash != "":
				again = true
			case h.RevokedAt.IsZero() && now.Before(h.ExpiresAt.Time):
				return fmt.Errorf("%s %q is a member with a good certificate; revoke it first: %w", c.Role, c.Name, errdefs.ErrAlreadyExists)
			case !h.RevokedAt.Before(t.CreatedAt.Time) && !h.RevokedAt.IsZero():
				return fmt.Errorf("%s %q was revoked after this token was made: it needs a newer one: %w", c.Role, c.Name, errdefs.ErrPermissionDenied)
			}
		}
		if again { // the use is its own already
			t.UsesLeft++
		}
		if !t.Good(model.At(now)) {
			return fmt.Errorf("the token is used up, expired or revoked: %w", errdefs.ErrNotFound)
		}
		if err := tx.Model(&t).Update("uses_left", t.UsesLeft-1).Error; err != nil {
			return err
		}
		return insertCertificate(tx, c, now)
	})
}

// Renew keeps the certificate that follows another of the same member. It is ErrNotFound
// where no manager gave the other one, ErrPermissionDenied where it was revoked.
func (s *Store) Renew(ctx context.Context, present string, c *model.Certificate, now time.Time) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockMembers(tx); err != nil {
			return err
		}
		var before model.Certificate
		if err := tx.Where("serial = ? AND role = ? AND name = ?", present, c.Role, c.Name).Take(&before).Error; err != nil {
			return classify(err)
		}
		if !before.RevokedAt.IsZero() {
			return fmt.Errorf("the certificate was revoked: %w", errdefs.ErrPermissionDenied)
		}
		c.TokenID = before.TokenID
		return insertCertificate(tx, c, now)
	})
}

func insertCertificate(tx *gorm.DB, c *model.Certificate, now time.Time) error {
	c.ID, c.CreatedAt = 0, model.At(now)
	return create(tx, c)
}

// RevokeMember revokes every certificate of a member that is good now, and returns them.
func (s *Store) RevokeMember(ctx context.Context, role model.Role, name, by string, now time.Time) (revoked []model.Certificate, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockMembers(tx); err != nil {
			return err
		}
		revoked, err = revokeMember(tx, role, name, by, now)
		return err
	})
	return revoked, err
}

// revokeMember is RevokeMember in a transaction that holds the lock.
func revokeMember(tx *gorm.DB, role model.Role, name, by string, now time.Time) (revoked []model.Certificate, err error) {
	err = tx.Where("role = ? AND name = ? AND revoked_at = 0 AND expires_at > ?", role, name, model.At(now)).Order("id").Find(&revoked).Error
	for i := range revoked {
		if err == nil {
			err = revoke(tx, &revoked[i], by, now)
		}
	}
	return revoked, err
}

// RevokeSerial revokes the certificate with a number. One that no manager gave is
// remembered until ends.
func (s *Store) RevokeSerial(ctx context.Context, serial, by string, now, ends time.Time) (c *model.Certificate, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockMembers(tx); err != nil {
			return err
		}
		var found []model.Certificate
		if err := tx.Where("serial = ?", serial).Find(&found).Error; err != nil {
			return err
		}
		if len(found) == 0 {
			c = &model.Certificate{Serial: serial, RevokedAt: model.At(now), RevokedBy: by, ExpiresAt: model.At(ends)}
			return insertCertificate(tx, c, now)
		}
		c = &found[0]
		if !c.RevokedAt.IsZero() {
			return nil
		}
		return revoke(tx, c, by, now)
	})
	return c, err
}

func revoke(tx *gorm.DB, c *model.Certificate, by string, now time.Time) error {
	c.RevokedAt, c.RevokedBy = model.At(now), by
	return tx.Model(c).Select("revoked_at", "revoked_by").Updates(c).Error
}

// Revoked lists the numbers of revoked certificates that have not ended, in order.
func (s *Store) Revoked(ctx context.Context, now time.Time) (serials []string, err error) {
	err = s.db.WithContext(ctx).Model(&model.Certificate{}).
		Where("revoked_at > 0 AND expires_at > ?", model.At(now)).Order("serial").Pluck("serial", &serials).Error
	if err != nil {
		return nil, fmt.Errorf("list revoked certificates: %w", classify(err))
	}
	return serials, nil
}

// lockMembers keeps others from giving and revoking certificates until the transaction
// ends: a renewal that saw its certificate good must not add one that a revocation at the
// same time does not see.
func (s *Store) lockMembers(tx *gorm.DB) error { return s.lockCluster(tx, 0) }

// joinMemory is how long tokens and certificates are kept after their end, for people.
const joinMemory = 30 * 24 * time.Hour

// sweepJoin deletes tokens and certificates that ended long ago.
func sweepJoin(db *gorm.DB, now time.Time) error {
	old := model.At(now.Add(-joinMemory))
	if err := db.Where("expires_at < ?", old).Delete(&model.JoinToken{}).Error; err != nil {
		return fmt.Errorf("sweep join tokens: %w", classify(err))
	}
	if err := db.Where("expires_at < ?", old).Delete(&model.Certificate{}).Error; err != nil {
		return fmt.Errorf("sweep certificates: %w", classify(err))
	}
	return nil
}
