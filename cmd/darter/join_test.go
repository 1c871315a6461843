package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJoinCommands makes and revokes tokens and members at a manager that writes down what
// it is asked.
func TestJoinCommands(t *testing.T) {
	const token = `{"id":3,"role":"node","uses":5,"uses_left":4,"author":"root","created_at":"2026-11-21T12:00:00Z","expires_at":"2126-11-21T13:00:00Z"}`
	const certificate = `{"serial":"ab12","role":"node","name":"node1\u001b[2J","token_id":3,"created_at":"2026-11-21T12:00:00Z","expires_at":"2026-11-28T12:00:00Z"}`
	var asked string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.RequestURI() + " " + string(body)
		switch r.Method + " " + r.URL.Path {
		case "POST /api/v1/join-tokens":
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":%s,"secret":"darter-join.secret.pin"}`, token)
		case "GET /api/v1/join-tokens":
			fmt.Fprintf(w, `{"items":[%s],"total":1}`, token)
		case "POST /api/v1/join-tokens/3/revoke":
			fmt.Fprint(w, token)
		case "GET /api/v1/certificates":
			fmt.Fprintf(w, `{"items":[%s],"total":1}`, certificate)
		case "POST /api/v1/certificates/revoke":
			fmt.Fprintf(w, `{"certificates":[%s],"tokens":[%s]}`, certificate, token)
		}
	}))
	defer s.Close()
	t.Setenv(managerVariable, s.URL)
	t.Setenv(tokenVariable, "secret")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "token")
	for _, tt := range []struct{ args, asks, out, errOut string }{
		{"join-token create --role node --uses 5 --life 7d --comment rack", `POST /api/v1/join-tokens {"comment":"rack","expires_in_seconds":604800,"role":"node","uses":5}`, "darter-join.secret.pin\n", "token 3: for 5 node(s)"},
		{"join-token create --role seed --format json", `POST /api/v1/join-tokens {"comment":"","expires_in_seconds":3600,"role":"seed","uses":1}`, `"secret": "darter-join.secret.pin"`, ""},
		{"join-token create --role node --output " + file, `POST /api/v1/join-tokens `, "", "token 3"},
		{"join-token list", "GET /api/v1/join-tokens?per_page=1000 ", "4/5", ""},
		{"join-token revoke 3", "POST /api/v1/join-tokens/3/revoke ", "", ""},
		{"certificate list --revoked --role node --name node1", "GET /api/v1/certificates?name=node1&per_page=1000&revoked=true&role=node ", "ab12", ""},
		{"certificate revoke node1", `POST /api/v1/certificates/revoke {"name":"node1","role":"node"}`, "revoked ab12 of node node1", "darter join-token revoke 3"},
		{"certificate revoke --serial ab12", `POST /api/v1/certificates/revoke {"serial":"ab12"}`, "revoked ab12", ""},
	} {
		var out, errOut bytes.Buffer
		asked = ""
		if err := command(&out, &errOut, strings.Fields(tt.args)).ExecuteContext(t.Context()); err != nil {
			t.Errorf("%s: %v", tt.args, err)
		}
		if !strings.HasPrefix(asked, tt.asks) || !strings.Contains(out.String(), tt.out) || !strings.Contains(errOut.String(), tt.errOut) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: asked %q, said %q and %q", tt.args, asked, out.String(), errOut.String())
		}
		if strings.Contains(tt.args, "json") && !json.Valid(out.Bytes()) {
			t.Errorf("%s: %q is no JSON", tt.args, out.String())
		}
	}
	if mode, err := os.Stat(file); err != nil || mode.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v", mode, err)
	}
	for _, wrong := range []string{
		"join-token", "join-token create", "join-token create --role node --life long", "join-token revoke x", "join-token revoke",
		"certificate", "certificate revoke", "certificate revoke a --serial b", "certificate list --format xml",
	} {
		if err := command(io.Discard, io.Discard, strings.Fields(wrong)).ExecuteContext(t.Context()); exitCode(err) != 2 {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
