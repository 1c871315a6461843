package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// Bounds of what a node may tell of tags.
const (
	maxTagsTold    = 256
	maxMediaType   = 255
	maxManifest    = 8 << 20           // bytes
	maxAgeSeconds  = 10 * 365 * 86_400 // ten years
	maxTagsAnswers = 16
)

// member returns the node or seed that calls.
func member(ctx context.Context) (name p2p.HostID, seed bool, err error) {
	role, host, _, err := caller(ctx)
	if err != nil {
		return "", false, status.Error(codes.Unauthenticated, err.Error())
	}
	if role != pki.Node && role != pki.Seed {
		return "", false, status.Errorf(codes.PermissionDenied, "a certificate of role %s tells and asks nothing of tags", role)
	}
	return p2p.HostID(host), role == pki.Seed, nil
}

// TellTags implements SchedulerService.
func (s *Server) TellTags(ctx context.Context, r *schedulerv1.TellTagsRequest) (*schedulerv1.TellTagsResponse, error) {
	host, seed, err := member(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.GetTags()) > maxTagsTold {
		return nil, status.Errorf(codes.InvalidArgument, "%d tags, at most %d", len(r.GetTags()), maxTagsTold)
	}
	now := time.Now()
	told := make([]p2p.Tag, len(r.GetTags()))
	for i, m := range r.GetTags() {
		if told[i], err = tagOf(m, now); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "tag %d: %v", i, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tag := range told {
		s.tags.Tell(host, seed, tag, now)
	}
	return &schedulerv1.TellTagsResponse{}, nil
}

// FindTag implements SchedulerService.
func (s *Server) FindTag(ctx context.Context, r *schedulerv1.FindTagRequest) (*schedulerv1.FindTagResponse, error) {
	if _, _, err := member(ctx); err != nil {
		return nil, err
	}
	if err := checkText(r.GetOrigin(), maxOriginBytes); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "origin: %v", err)
	}
	now := time.Now()
	s.mu.Lock()
	told := s.tags.Find(p2p.Origin(r.GetOrigin()), now)
	s.mu.Unlock()
	if len(told) == 0 {
		return nil, status.Error(codes.NotFound, "no node has told what this tag named")
	}
	answer := &schedulerv1.FindTagResponse{}
	for _, t := range told[:min(len(told), maxTagsAnswers)] {
		answer.Told = append(answer.Told, &schedulerv1.ToldTag{
			Tag: &schedulerv1.Tag{
				Origin: string(t.Origin), Digest: t.Digest.String(), Size: t.Size, MediaType: t.MediaType,
				AgeSeconds: int64(now.Sub(t.Seen) / time.Second),
			},
			Hosts: uint32(t.Hosts), Seed: t.Seed, Host: string(t.Host),
		})
	}
	return answer, nil
}

// tagOf reads a tag.
func tagOf(m *schedulerv1.Tag, now time.Time) (p2p.Tag, error) {
	d := digest.Digest(m.GetDigest())
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return p2p.Tag{}, fmt.Errorf("digest %q is no sha256", cutText(m.GetDigest(), 80))
	}
	if m.GetOrigin() == "" {
		return p2p.Tag{}, fmt.Errorf("no origin")
	}
	if err := checkText(m.GetOrigin(), maxOriginBytes); err != nil {
		return p2p.Tag{}, fmt.Errorf("origin: %w", err)
	}
	if err := checkText(m.GetMediaType(), maxMediaType); err != nil {
		return p2p.Tag{}, fmt.Errorf("media type: %w", err)
	}
	if n := m.GetSize(); n < 0 || n > maxManifest {
		return p2p.Tag{}, fmt.Errorf("size %d is not within 0 to %d", n, maxManifest)
	}
	if n := m.GetAgeSeconds(); n < 0 || n > maxAgeSeconds {
		return p2p.Tag{}, fmt.Errorf("age of %d seconds", n)
	}
	return p2p.Tag{
		Origin: p2p.Origin(m.GetOrigin()), Digest: d, Size: m.GetSize(), MediaType: m.GetMediaType(),
		Seen: now.Add(-time.Duration(m.GetAgeSeconds()) * time.Second),
	}, nil
}
