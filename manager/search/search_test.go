package search

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/model"
)

func candidates() []Candidate {
	scopes := []model.Scopes{
		{},
		{CIDRs: []string{"bad", "10.1.0.0/16", "fd00::/8"}},
		{Hostnames: []string{"(", `^web-\d+$`}},
		{IDCs: []string{"HangZhou", "z2"}},
		{Location: "eu|fra|r1|x|y"},
		{CIDRs: []string{"10.1.0.0/16"}, Hostnames: []string{"web"}, IDCs: []string{"z9"}, Location: "eu|fra"},
	}
	names := []string{"default", "cidr", "hostname", "idc", "location", "down"}
	var out []Candidate
	for i, s := range scopes {
		c := model.Cluster{ID: int64(i + 1), Name: names[i], Scopes: s, Default: i == 0}
		out = append(out, Candidate{c, 1})
	}
	out[5].Schedulers = 0
	return out
}

func TestRank(t *testing.T) {
	for _, tt := range []struct {
		q    Query
		want string // the usable clusters with their scores
	}{
		{Query{}, "default 0.01"},
		{Query{IP: "10.1.2.3"}, "cidr 0.3 default 0.01"},
		{Query{IP: "::ffff:10.1.2.3"}, "cidr 0.3 default 0.01"},
		{Query{IP: "fd00::1%eth0"}, "cidr 0.3 default 0.01"},
		{Query{IP: "no address", Hostname: "web-7"}, "hostname 0.3 default 0.01"},
		{Query{Hostname: "xweb-7"}, "default 0.01"},
		{Query{IDC: "hangzhou"}, "idc 0.25 default 0.01"},
		{Query{IDC: "a|z2|b"}, "idc 0.25 default 0.01"},
		{Query{Location: "EU|fra|r2"}, "location 0.056 default 0.01"},
		{Query{Location: "eu|fra|r1|x|y|z"}, "location 0.14 default 0.01"},
		{Query{Location: "us|fra"}, "default 0.01"},
		{Query{IP: "10.1.2.3", Hostname: "web-7", IDC: "z2"}, "cidr 0.3 hostname 0.3 idc 0.25 default 0.01"},
		{Query{Pin: "idc", IP: "10.1.2.3"}, "idc 0"},
		{Query{Pin: "down"}, ""},
	} {
		answers, err := Rank(tt.q, candidates())
		if err != nil {
			t.Errorf("%+v: %v", tt.q, err)
			continue
		}
		var got []string
		for _, a := range answers {
			if a.Usable {
				got = append(got, fmt.Sprintf("%s %v", a.Cluster, math.Round(a.Score*1000)/1000))
			}
			if len(a.Because) == 0 {
				t.Errorf("%+v: %s is not explained", tt.q, a.Cluster)
			}
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
		if len(answers) != 6 {
			t.Errorf("%+v: %d answers, want all clusters", tt.q, len(answers))
		}
	}
	if _, err := Rank(Query{Pin: "none"}, candidates()); !errdefs.IsNotFound(err) {
		t.Errorf("a pin that names nothing: %v", err)
	}
}

func TestRankExplains(t *testing.T) {
	answers, err := Rank(Query{IP: "10.1.2.3", Location: "eu|fra"}, candidates())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(answers[0].Because); got != "[+0.3 10.1.2.3 is in 10.1.0.0/16]" {
		t.Error(got)
	}
	last := answers[3]
	if got := fmt.Sprint(last.Cluster, last.Because); got != "down[+0.3 10.1.2.3 is in 10.1.0.0/16 +0.056 2 of 5 elements of the location no active scheduler]" {
		t.Error(got)
	}
}
