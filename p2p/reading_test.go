package p2p

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func someReading() Reading {
	return Reading{Origin: "oci://registry.test/app/blobs/sha256:00", Public: true, Seen: time.Unix(1_790_000_000, 0).UTC()}
}

func TestReadingSurvivesItsBinaryForm(t *testing.T) {
	for _, want := range []Reading{someReading(), {Seen: time.Unix(0, 0).UTC()}, {Origin: Origin(strings.Repeat("x", MaxOriginLen)), Seen: time.Unix(7, 0).UTC()}} {
		got, err := ReadingFromBinary(want.AppendBinary(nil))
		if err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	long := someReading()
	long.Origin = Origin(strings.Repeat("x", MaxOriginLen+1))
	for name, b := range map[string][]byte{
		"nothing": nil, "another kind": []byte("B-----------"), "cut": someReading().AppendBinary(nil)[:10],
		"too long": long.AppendBinary(nil), "not text": append(someReading().AppendBinary(nil), 0xff),
	} {
		if _, err := ReadingFromBinary(b); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func FuzzReadingFromBinary(f *testing.F) {
	f.Add(someReading().AppendBinary(nil))
	f.Add([]byte{readingMagic, readingVersion, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadingFromBinary(b)
		if err == nil && string(r.AppendBinary(nil)) != string(b) {
			t.Fatalf("%x became %+v", b, r)
		}
	})
}

func TestOriginWithCredential(t *testing.T) {
	o := someReading().Origin
	marked := o.WithCredential()
	if marked == o || marked.WithCredential() != marked || marked.String() != string(o) {
		t.Errorf("marked: %q, twice %q, for people %q", string(marked), string(marked.WithCredential()), marked)
	}
	if bare, ok := marked.Bare(); bare != o || !ok {
		t.Errorf("bare: %q %v", string(bare), ok)
	}
	if bare, ok := o.Bare(); bare != o || ok {
		t.Errorf("bare: %q %v", string(bare), ok)
	}
	if got := Origin("").WithCredential(); got != "" {
		t.Errorf("no origin became %q", string(got))
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := Secret("hunter2")
	holder := struct{ S Secret }{s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{s, holder, &holder, []Secret{s}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
	}
}

func TestSumReading(t *testing.T) {
	d := digest.FromString("x")
	b := SumReading(d, time.Unix(5, 0)).AppendBinary(nil)
	r, err := ReadingFromBinary(b)
	if got, ok := r.Sum(); err != nil || !ok || got != d {
		t.Errorf("%+v, %v", r, err)
	}
	for _, o := range []Origin{"", "oci://r/a/blobs/" + Origin(d), Origin(d), "content:", "content:sha256:x", "content:sha512:" + Origin(strings.Repeat("0", 128))} {
		if got, ok := (Reading{Origin: o}).Sum(); ok {
			t.Errorf("%q: %s", string(o), got)
		}
	}
}
