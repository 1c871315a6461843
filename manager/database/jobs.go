package database

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/darter-p2p/darter/manager/model"
)

// CreateJob inserts a waiting job for a cluster that must be there; ID and times are
// set. A cluster that has had its jobs of this minute is ErrResourceExhausted.
func (s *Store) CreateJob(ctx context.Context, j *model.Job, now time.Time) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := s.lockCluster(tx, j.ClusterID); err != nil {
			return fmt.Errorf("create job: %w", err)
		}
		var c model.Cluster
		if err := tx.Where("id = ?", j.ClusterID).Take(&c).Error; err != nil {
			return fmt.Errorf("create job: %w", classify(err))
		}
		if c.JobsPerMinute > 0 {
			var made int64
			err := tx.Model(&model.Job{}).Where("cluster_id = ? AND created_at > ?", c.ID, model.At(now.Add(-time.Minute))).Count(&made).Error
			if err != nil {
				return err
			}
			if made >= c.JobsPerMinute {
				return fmt.Errorf("create job: cluster %s has had its %d jobs of this minute: %w", c.Name, made, errdefs.ErrResourceExhausted)
			}
		}
		j.ID, j.State, j.Attempt, j.Holder, j.LeaseUntil = 0, model.Waiting, 0, "", model.Time{}
		j.CreatedAt, j.UpdatedAt, j.StartedAt, j.FinishedAt = model.At(now), model.At(now), model.Time{}, model.Time{}
		return create(tx, j)
	})
}

// ClaimJob gives holder the oldest job that waits or whose lease has run out, until
// now + lease. It returns nil if there is none.
func (s *Store) ClaimJob(ctx context.Context, holder string, now time.Time, lease time.Duration) (*model.Job, error) {
	db := s.db.WithContext(ctx)
	for {
		var found []model.Job
		err := db.Where("state = ? OR (state = ? AND lease_until < ?)", model.Waiting, model.Running, model.At(now)).
			Order("id").Limit(8).Find(&found).Error
		if err != nil {
			return nil, fmt.Errorf("claim job: %w", classify(err))
		}
		if len(found) == 0 {
			return nil, nil
		}
		for _, j := range found {
			mine, err := s.claim(db, &j, holder, now, lease)
			if err != nil {
				return nil, fmt.Errorf("claim job %d: %w", j.ID, classify(err))
			}
			if mine {
				return &j, nil
			}
		}
	}
}

// claim reports whether this holder was the first to take the attempt after j's.
func (s *Store) claim(db *gorm.DB, j *model.Job, holder string, now time.Time, lease time.Duration) (bool, error) {
	set := map[string]any{
		"state": model.Running, "holder": holder, "lease_until": model.At(now.Add(lease)),
		"attempt": j.Attempt + 1, "updated_at": model.At(now),
	}
	if j.StartedAt.IsZero() {
		set["started_at"] = model.At(now)
		j.StartedAt = model.At(now)
	}
	answer := db.Model(&model.Job{}).
		Where("id = ? AND attempt = ? AND lease_until = ? AND state IN ?", // as it was read: it may have been renewed since
			j.ID, j.Attempt, j.LeaseUntil, []model.JobState{model.Waiting, model.Running}).Updates(set)
	if answer.Error != nil {
		if collided(answer.Error) {
			return false, nil
		}
		return false, answer.Error
	}
	j.State, j.Holder, j.LeaseUntil, j.Attempt, j.UpdatedAt = model.Running, holder, model.At(now.Add(lease)), j.Attempt+1, model.At(now)
	return answer.RowsAffected == 1, nil
}

// held selects a job for as long as the claim that j tells of lasts.
func (s *Store) held(ctx context.Context, j *model.Job) *gorm.DB {
	return s.db.WithContext(ctx).Model(&model.Job{}).
		Where("id = ? AND holder = ? AND attempt = ? AND state = ?", j.ID, j.Holder, j.Attempt, model.Running)
}

// RenewJob lengthens the lease of a job that was claimed, and reports whether somebody
// asked to cancel it. A lease that another took is ErrFailedPrecondition: stop at once.
func (s *Store) RenewJob(ctx context.Context, j *model.Job, now time.Time, lease time.Duration) (cancel bool, err error) {
	answer := s.held(ctx, j).Updates(map[string]any{"lease_until": model.At(now.Add(lease)), "updated_at": model.At(now)})
	if err := lost("renew", j, answer); err != nil {
		return false, err
	}
	j.LeaseUntil = model.At(now.Add(lease))
	there, err := Get[model.Job](ctx, s, j.ID)
	if err != nil {
		return false, err
	}
	return there.Cancel, nil
}

// FinishJob writes state, result and error of a job that was claimed. A state that is
// not final is ErrInvalidArgument, a lease that another took ErrFailedPrecondition.
func (s *Store) FinishJob(ctx context.Context, j *model.Job, now time.Time) error {
	if !j.State.Final() {
		return fmt.Errorf("finish job %d: state %s: %w", j.ID, j.State, errdefs.ErrInvalidArgument)
	}
	j.UpdatedAt, j.FinishedAt, j.LeaseUntil = model.At(now), model.At(now), model.Time{}
	answer := s.held(ctx, j).Select("state", "result", "error", "updated_at", "finished_at", "lease_until").Updates(j)
	return lost("finish", j, answer)
}

func lost(what string, j *model.Job, answer *gorm.DB) error {
	if answer.Error != nil {
		return fmt.Errorf("%s job %d: %w", what, j.ID, classify(answer.Error))
	}
	if answer.RowsAffected == 0 {
		return fmt.Errorf("%s job %d: attempt %d of %s is no longer its holder's: %w",
			what, j.ID, j.Attempt, j.Holder, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// CancelJob cancels a job that waits, and asks the holder of one that runs to stop. A
// job that has ended is ErrFailedPrecondition.
func (s *Store) CancelJob(ctx context.Context, id int64, now time.Time) error {
	if _, err := Get[model.Job](ctx, s, id); err != nil {
		return err
	}
	db := s.db.WithContext(ctx).Model(&model.Job{})
	answer := db.Where("id = ? AND state = ?", id, model.Waiting).Updates(map[string]any{
		"state": model.Cancelled, "cancel": true, "updated_at": model.At(now), "finished_at": model.At(now),
	})
	if answer.Error == nil && answer.RowsAffected == 0 {
		answer = s.db.WithContext(ctx).Model(&model.Job{}).Where("id = ? AND state = ?", id, model.Running).
			Updates(map[string]any{"cancel": true, "updated_at": model.At(now)})
	}
	if answer.Error != nil {
		return fmt.Errorf("cancel job %d: %w", id, classify(answer.Error))
	}
	if answer.RowsAffected == 0 {
		return fmt.Errorf("cancel job %d: it has ended: %w", id, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// RetryJob makes a job that failed or was cancelled wait again. Its items stay: the next
// attempt finds what is done already. Another state is ErrFailedPrecondition.
func (s *Store) RetryJob(ctx context.Context, id int64, now time.Time) error {
	if _, err := Get[model.Job](ctx, s, id); err != nil {
		return err
	}
	answer := s.db.WithContext(ctx).Model(&model.Job{}).
		Where("id = ? AND state IN ?", id, []model.JobState{model.Failed, model.Cancelled}).
		Updates(map[string]any{
			"state": model.Waiting, "cancel": false, "error": "", "finished_at": model.Time{}, "updated_at": model.At(now),
		})
	if answer.Error != nil {
		return fmt.Errorf("retry job %d: %w", id, classify(answer.Error))
	}
	if answer.RowsAffected == 0 {
		return fmt.Errorf("retry job %d: it has not failed: %w", id, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// DeleteJob deletes a job that has ended, with its items. Another is ErrFailedPrecondition.
func (s *Store) DeleteJob(ctx context.Context, id int64) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		var j model.Job
		if err := tx.Where("id = ?", id).Take(&j).Error; err != nil {
			return fmt.Errorf("delete job: %w", classify(err))
		}
		if !j.State.Final() {
			return fmt.Errorf("delete job %d: it is %s, cancel it first: %w", id, j.State, errdefs.ErrFailedPrecondition)
		}
		if err := tx.Where("job_id = ?", id).Delete(&model.JobItem{}).Error; err != nil {
			return err
		}
		return remove[model.Job](tx, id)
	})
}

// PutItems inserts items of a job that was claimed, or replaces those with the same
// member and content. A lease that another took is ErrFailedPrecondition.
func (s *Store) PutItems(ctx context.Context, j *model.Job, items []model.JobItem, now time.Time) error {
	if len(items) == 0 {
		return nil
	}
	for i := range items {
		items[i].ID, items[i].JobID, items[i].UpdatedAt = 0, j.ID, model.At(now)
	}
	return s.transaction(ctx, func(tx *gorm.DB) error {
		answer := tx.Model(&model.Job{}).
			Where("id = ? AND holder = ? AND attempt = ? AND state = ?", j.ID, j.Holder, j.Attempt, model.Running).
			Updates(map[string]any{"updated_at": model.At(now)})
		if err := lost("write items of", j, answer); err != nil {
			return err
		}
		return tx.Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "job_id"}, {Name: "member"}, {Name: "content"}},
			DoUpdates: clause.AssignmentColumns([]string{"state", "error", "pieces", "verified", "bytes", "updated_at"}),
		}).CreateInBatches(&items, 200).Error
	})
}
