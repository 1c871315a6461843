package database

import "context"

// OpenStep is Open; step is called before each statement that changes the schema.
func OpenStep(ctx context.Context, c Config, step func()) (*Store, error) { return open(ctx, c, step) }

// Exec does a statement.
func Exec(ctx context.Context, s *Store, statement string, args ...any) error {
	return s.db.WithContext(ctx).Exec(statement, args...).Error
}

// Texts returns the first column of what a statement selects.
func Texts(ctx context.Context, s *Store, statement string) (out []string, err error) {
	return out, s.db.WithContext(ctx).Raw(statement).Scan(&out).Error
}
