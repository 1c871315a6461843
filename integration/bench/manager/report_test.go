package main

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	times := make([]time.Duration, 100)
	for i := range times {
		times[i] = time.Duration(i+1) * time.Second
	}
	for share, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(times, share); got != want {
			t.Errorf("quantile %v: %v, want %v", share, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

func TestSummarise(t *testing.T) {
	got := summarise([]answer{
		{"/nodes", time.Second, false, nil}, {"/jobs", 3 * time.Second, true, errors.New("late")}, {"/nodes", 2 * time.Second, true, nil},
	})
	want := []listTimes{{allLists, 3, 2, 3, 3}, {changeLists, 2, 2, 3, 3}, {"/nodes", 2, 1, 2, 2}, {"/jobs", 1, 3, 3, 3}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

func TestUsage(t *testing.T) {
	before, err := readUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	after.at, after.CPU = before.at.Add(2*time.Second), before.CPU+1
	if u := after.since(before); u.Cores != 0.5 || u.RSS < 1<<20 || u.Peak < u.RSS/2 {
		t.Errorf("%+v", u)
	}
	after.pid++ // it was started anew
	if u := after.since(before); u.CPU != after.CPU {
		t.Errorf("%+v", u)
	}
}

func TestReadPlan(t *testing.T) {
	env := func(name, value string) func(string) string {
		return func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		}
	}
	if p, err := readPlan(env("NODES", "70")); err != nil || p.Nodes != 70 || p.Lists != 20 {
		t.Errorf("%+v, %v", p, err)
	}
	for name, value := range map[string]string{"NODES": "many", "CHANGES": "0", "IDLE": "5", "LISTS": "-1"} {
		if _, err := readPlan(env(name, value)); err == nil {
			t.Errorf("%s=%s is taken", name, value)
		}
	}
}
