package store

import (
	"encoding/hex"
	"path/filepath"
	"strings"

	"github.com/darter-p2p/darter/p2p"
)

// The files of a task, in <root>/<kind>/<first 2 hex digits>/.
const (
	partSuffix    = ".part"        // after the 64 hex digits: data that is not complete
	journalSuffix = ".journal"     // the journal
	freshSuffix   = ".journal.tmp" // a journal that is being rewritten
)

// kinds are the directories of the root, one for each kind of task.
var kinds = [...]string{"sha256", "url"}

// lockName is the file in the root that keeps a second process out.
const lockName = "lock"

// names are the paths of one task's files.
type names struct {
	dir   string
	stem  string // path of the completed file; the others add a suffix
	shard string // the kind's directory, parent of dir
}

func (n names) final() string   { return n.stem }
func (n names) part() string    { return n.stem + partSuffix }
func (n names) journal() string { return n.stem + journalSuffix }
func (n names) fresh() string   { return n.stem + freshSuffix }

func namesOf(root string, id p2p.TaskID) names {
	kind, sum, _ := strings.Cut(id.String(), ":")
	shard := filepath.Join(root, kind)
	dir := filepath.Join(shard, sum[:2])
	return names{dir: dir, stem: filepath.Join(dir, sum), shard: shard}
}

// found says which files of a task a directory holds.
type found struct{ final, part, journal, fresh bool }

// strays are the files that a task which is held does not need.
func (f *found) strays(n names, completed bool) (files []string) {
	if f.fresh {
		files = append(files, n.fresh())
	}
	switch {
	case completed && f.final && f.part:
		files = append(files, n.part())
	case !completed && f.final:
		files = append(files, n.final())
	}
	return files
}

// note records a name of a file; false if the store makes no such name in that shard.
func note(tasks map[string]*found, shard, name string) bool {
	sum, suffix, dotted := strings.Cut(name, ".")
	if dotted {
		suffix = "." + suffix
	}
	if len(sum) != 64 || sum[:2] != shard || strings.ToLower(sum) != sum {
		return false
	}
	if _, err := hex.DecodeString(sum); err != nil {
		return false
	}
	f := tasks[sum]
	if f == nil {
		f = &found{}
	}
	switch suffix {
	case "":
		f.final = true
	case partSuffix:
		f.part = true
	case journalSuffix:
		f.journal = true
	case freshSuffix:
		f.fresh = true
	default:
		return false
	}
	tasks[sum] = f
	return true
}

// isShard reports whether a directory is one that namesOf makes.
func isShard(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == 1 && strings.ToLower(name) == name
}
