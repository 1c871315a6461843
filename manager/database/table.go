package database

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/darter-p2p/darter/manager/model"
)

// Query selects rows of a table.
type Query struct {
	// Where holds columns and the values that they must have, all of them.
	Where map[string]any
	// Set is a column that must not be 0.
	Set string
	// Search selects rows whose name holds this text, whatever its case.
	Search string
	// After and Until bound the audits' time: After ≤ at < Until; zero bounds nothing.
	After, Until model.Time
	// Newest reverses the order, which is that of the identities.
	Newest bool
	// Limit is the most rows to return, 0 = all; Offset rows are left out first.
	Limit, Offset int
}

// row is a row with an identity.
type row interface {
	model.Cluster | model.Member | model.Application | model.Configuration | model.Job | model.JobItem |
		model.User | model.AccessToken | model.Provider | model.Audit | model.JoinToken | model.Certificate
}

// List returns the rows that a query selects, and how many there are without Limit and
// Offset.
func List[T row](ctx context.Context, s *Store, q Query) (rows []T, total int64, err error) {
	db := s.db.WithContext(ctx).Model(new(T))
	for column, value := range q.Where {
		db = db.Where(clause.Eq{Column: clause.Column{Name: column}, Value: value})
	}
	if q.Set != "" {
		db = db.Where(clause.Neq{Column: clause.Column{Name: q.Set}, Value: 0})
	}
	if q.Search != "" {
		db = db.Where(`LOWER(name) LIKE ? ESCAPE '!'`, "%"+likeEscape.Replace(strings.ToLower(q.Search))+"%")
	}
	if !q.After.IsZero() {
		db = db.Where("at >= ?", q.After)
	}
	if !q.Until.IsZero() {
		db = db.Where("at < ?", q.Until)
	}
	if err := db.Session(&gorm.Session{}).Count(&total).Error; err != nil {
		return nil, 0, fmt.Errorf("list %T: %w", *new(T), classify(err))
	}
	db = db.Session(&gorm.Session{}).Order(clause.OrderByColumn{Column: clause.Column{Name: "id"}, Desc: q.Newest})
	if q.Limit > 0 {
		db = db.Limit(q.Limit).Offset(q.Offset)
	}
	if err := db.Find(&rows).Error; err != nil {
		return nil, 0, fmt.Errorf("list %T: %w", *new(T), classify(err))
	}
	return rows, total, nil
}

// likeEscape makes a text mean itself in LIKE … ESCAPE '!'.
var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// Get returns the row with an identity.
func Get[T row](ctx context.Context, s *Store, id int64) (*T, error) {
	return first[T](s.db.WithContext(ctx).Where("id = ?", id))
}

// find returns the first row that a condition selects.
func find[T row](ctx context.Context, s *Store, condition string, args ...any) (*T, error) {
	return first[T](s.db.WithContext(ctx).Where(condition, args...))
}

func first[T row](db *gorm.DB) (*T, error) {
	var out T
	if err := db.Take(&out).Error; err != nil {
		return nil, fmt.Errorf("get %T: %w", out, classify(err))
	}
	return &out, nil
}

// create inserts a row and sets its identity.
func create[T any](db *gorm.DB, r *T) error {
	if err := db.Create(r).Error; err != nil {
		return fmt.Errorf("create %T: %w", *r, classify(err))
	}
	return nil
}

// save writes every column of a row that must be there.
func save[T any](db *gorm.DB, r *T) error {
	answer := db.Model(r).Select("*").Updates(r)
	if answer.Error != nil {
		return fmt.Errorf("update %T: %w", *r, classify(answer.Error))
	}
	if answer.RowsAffected == 0 {
		return fmt.Errorf("update %T: no such row: %w", *r, errdefs.ErrNotFound)
	}
	return nil
}

// remove deletes the row with an identity.
func remove[T row](db *gorm.DB, id int64) error {
	answer := db.Where("id = ?", id).Delete(new(T))
	if answer.Error != nil {
		return fmt.Errorf("delete %T: %w", *new(T), classify(answer.Error))
	}
	if answer.RowsAffected == 0 {
		return fmt.Errorf("delete %T: no such row: %w", *new(T), errdefs.ErrNotFound)
	}
	return nil
}

// transaction calls f on one connection and undoes all of it if it fails. Where the
// database finds that two stand in each other's way, f is called again.
func (s *Store) transaction(ctx context.Context, f func(*gorm.DB) error) error {
	for try := 1; ; try++ {
		err := s.db.WithContext(ctx).Transaction(f)
		if err == nil || try == 5 || !collided(err) {
			return classify(err)
		}
	}
}
