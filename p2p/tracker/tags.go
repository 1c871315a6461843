package tracker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/p2p"
)

const (
	// maxTags is the number of tags that one message tells, and that may wait.
	maxTags = 256
	// tagTime bounds one message about tags.
	tagTime = 3 * time.Second
	// maxTold and maxMediaType bound an answer.
	maxTold      = 16
	maxMediaType = 255
	maxManifest  = 8 << 20
)

// TellTag says what a tag named when its registry answered just now. It is a help for
// others in an outage: where it cannot be told, it is dropped until the next connection.
func (c *Client) TellTag(t p2p.Tag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.homeLocked(ofTag(t.Origin))
	if s == nil || s.link == nil {
		return
	}
	select {
	case s.link.tags <- t:
	default:
	}
}

// FindTag asks what other nodes have told of a tag, what most say first. It is
// ErrNotFound where they told nothing, and ErrUnavailable without a scheduler.
func (c *Client) FindTag(ctx context.Context, o p2p.Origin) ([]p2p.ToldTag, error) {
	var l *link
	c.mu.Lock()
	if s := c.homeLocked(ofTag(o)); s != nil {
		l = s.link
	}
	c.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("ask nodes for tag %s: no scheduler: %w", o, errdefs.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, tagTime)
	defer cancel()
	answer, err := l.service.FindTag(ctx, &schedulerv1.FindTagRequest{Origin: sayable(o)})
	switch status.Code(err) {
	case codes.OK:
		return toldOf(o, answer, time.Now())
	case codes.NotFound, codes.Unimplemented: // the latter an older scheduler
		return nil, fmt.Errorf("ask nodes for tag %s: %w: %w", o, errdefs.ErrNotFound, err)
	}
	return nil, fmt.Errorf("ask nodes for tag %s: %w: %w", o, errdefs.ErrUnavailable, err)
}

// tellTags tells what is known of tags, and then what is heard, until life ends or the
// scheduler does not care.
func (s *scheduler) tellTags(life context.Context, l *link) {
	var batch []p2p.Tag
	if tags := s.c.cfg.Tags; tags != nil {
		batch = slices.DeleteFunc(tags(), func(t p2p.Tag) bool { return !s.home(ofTag(t.Origin)) })
	}
	for {
		if len(batch) > 0 && !l.tell(life, batch[:min(len(batch), maxTags)]) {
			return
		}
		batch = batch[:0]
		select {
		case t := <-l.tags:
			batch = append(batch, t)
		case <-life.Done():
			return
		}
		for len(batch) < maxTags && len(l.tags) > 0 {
			batch = append(batch, <-l.tags)
		}
	}
}

// tell says what tags named; it reports whether more may be told.
func (l *link) tell(life context.Context, tags []p2p.Tag) bool {
	now, r := time.Now(), &schedulerv1.TellTagsRequest{}
	for _, t := range tags {
		if sayable(t.Origin) == "" || sayable(p2p.Origin(t.MediaType)) != t.MediaType || len(t.MediaType) > maxMediaType {
			continue
		}
		r.Tags = append(r.Tags, &schedulerv1.Tag{
			Origin: string(t.Origin), Digest: t.Digest.String(), Size: t.Size, MediaType: t.MediaType,
			AgeSeconds: int64(max(now.Sub(t.Seen), 0) / time.Second),
		})
	}
	ctx, cancel := context.WithTimeout(life, tagTime)
	defer cancel()
	_, err := l.service.TellTags(ctx, r)
	return status.Code(err) != codes.Unimplemented
}

// toldOf reads an answer of FindTag.
func toldOf(o p2p.Origin, m *schedulerv1.FindTagResponse, now time.Time) ([]p2p.ToldTag, error) {
	var all []p2p.ToldTag
	for _, told := range m.GetTold()[:min(len(m.GetTold()), maxTold)] {
		t := told.GetTag()
		d, host, age := digest.Digest(t.GetDigest()), p2p.HostID(told.GetHost()), t.GetAgeSeconds()
		var err error
		switch {
		case t.GetOrigin() != string(o):
			err = errors.New("an answer about another tag")
		case d.Validate() != nil || d.Algorithm() != digest.SHA256:
			err = errors.New("its digest is no sha256")
		case t.GetSize() < 0 || t.GetSize() > maxManifest:
			err = fmt.Errorf("its size is %d", t.GetSize())
		case len(t.GetMediaType()) > maxMediaType || sayable(p2p.Origin(t.GetMediaType())) != t.GetMediaType():
			err = errors.New("its media type is not one")
		case age < 0 || age > math.MaxInt64/int64(time.Second):
			err = fmt.Errorf("its age is %d s", age)
		default:
			err = host.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("what nodes told of tag %s: %w", o, err)
		}
		all = append(all, p2p.ToldTag{
			Tag:   p2p.Tag{Origin: o, Digest: d, Size: t.GetSize(), MediaType: t.GetMediaType(), Seen: now.Add(-time.Duration(age) * time.Second)},
			Hosts: int(told.GetHosts()), Seed: told.GetSeed(), Host: host,
		})
	}
	return all, nil
}
