package main

import (
	"errors"
	"fmt"
	"syscall"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/process"
)

// Exit codes of darter get beside those of every program.
const (
	exitUnauthorized = 5 // the origin refused the credentials, or wants some
	exitDigest       = 6 // the content is not that of --digest
	exitOrigin       = 7 // the origin does not answer, or fails
	exitDiskFull     = 8
)

// failure is an error with an exit code of its own.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// exitCode returns the exit code for what the command returned.
func exitCode(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return process.ExitCode(err)
}

// diskError gives an error of writing the output its exit code.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &failure{exitDiskFull, fmt.Errorf("no space for the output: %w", err)}
	}
	return &failure{process.ExitFailure, err}
}

// errChanged says that the origin has another content than the one that was begun.
var errChanged = errors.New("the content at the origin has changed")

// contentRefusal turns a refusal of darterd into an error with its exit code.
func contentRefusal(said darterdv1.Error) error {
	err := errors.New(printable(said.Message))
	switch said.Code {
	case darterdv1.CodeInvalid:
		return &failure{process.ExitUsage, err}
	case darterdv1.CodeUnauthorized:
		return &failure{exitUnauthorized, err}
	case darterdv1.CodeNotFound:
		return &failure{process.ExitNotFound, err}
	case darterdv1.CodeUnavailable:
		return &failure{exitOrigin, err}
	case darterdv1.CodeChanged:
		return &failure{exitOrigin, fmt.Errorf("%w: %w", errChanged, err)}
	}
	return &failure{process.ExitFailure, err}
}
