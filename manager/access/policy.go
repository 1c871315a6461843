package access

import (
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2"
	casbinmodel "github.com/casbin/casbin/v2/model"

	"github.com/darter-p2p/darter/manager/model"
)

// rules is casbin's model: a role may do an action to a kind of object, of anybody's or
// of its own. Write includes read.
const rules = `
[request_definition]
r = role, object, action, whose

[policy_definition]
p = role, object, action, whose

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.role == p.role && (p.object == "*" || p.object == r.object) && (p.action == "write" || p.action == r.action) && (p.whose == "any" || p.whose == r.whose)
`

// everybody is the role of all who are signed in. Its name is none that a role can have.
const everybody = "*"

// policy decides. It never changes; a change of roles makes another.
type policy struct{ enforcer *casbin.SyncedEnforcer }

// builtIn returns the roles that are always there.
func builtIn() []model.AccessRole {
	guest := model.AccessRole{Name: model.GuestRole, Description: "reads what is no secret"}
	for _, object := range []string{"applications", "clusters", "configurations", "jobs", "nodes", "schedulers", "search", "seeds"} {
		guest.Permissions = append(guest.Permissions, model.Permission{Object: object, Action: model.Read})
	}
	return []model.AccessRole{
		guest,
		{Name: model.RootRole, Description: "may everything", Permissions: []model.Permission{{Object: "*", Action: model.Write}}},
	}
}

// newPolicy makes the policy of the built-in roles and others.
func newPolicy(others []model.AccessRole) (*policy, error) {
	m, err := casbinmodel.NewModelFromString(rules)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	e, err := casbin.NewSyncedEnforcer(m)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	lines := [][]string{
		{everybody, "users", model.Write, "own"},
		{everybody, "tokens", model.Write, "own"},
	}
	reserved := map[string]bool{}
	for _, r := range builtIn() {
		reserved[r.Name] = true
		lines = append(lines, linesOf(r)...)
	}
	for _, r := range others {
		if !reserved[r.Name] {
			lines = append(lines, linesOf(r)...)
		}
	}
	if _, err := e.AddPoliciesEx(lines); err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	return &policy{e}, nil
}

func linesOf(r model.AccessRole) (lines [][]string) {
	for _, p := range r.Permissions {
		lines = append(lines, []string{r.Name, p.Object, p.Action, "any"})
	}
	return lines
}

// allows reports whether one of the roles may do it.
func (p *policy) allows(roles []string, object, action string, own bool) (bool, error) {
	whose := "any"
	if own {
		whose = "own"
	}
	for _, role := range append([]string{everybody}, roles...) {
		ok, err := p.enforcer.Enforce(role, object, action, whose)
		if err != nil {
			return false, fmt.Errorf("ask the policy: %w", err)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

// inScope reports whether a token's scopes let it do an action to a kind of object.
func inScope(scopes []string, object, action string) bool {
	for _, scope := range scopes {
		of, what, _ := strings.Cut(scope, ":")
		if scope == "*" || (of == object || of == "*") && (what == model.Write || what == action) {
			return true
		}
	}
	return false
}
