package rest_test

import (
	"bytes"
	"flag"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json anew")

func TestDocument(t *testing.T) {
	w := newWorld(t)
	if err := w.doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	text, err := w.Document()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, text) {
		t.Error("openapi.json is not what the routes say: go test ./manager/rest -run TestDocument -update")
	}
	if answer := w.do(request(http.MethodGet, "/api/v1/openapi.json", "", "")); !bytes.Equal(answer.Body.Bytes(), text) {
		t.Errorf("served: status %d", answer.Code)
	}
	for name, s := range w.doc.Components.Schemas {
		for field := range s.Value.Properties {
			if strings.Contains(field, "hash") || field == "ClientSecret" {
				t.Errorf("schema %s shows %s", name, field)
			}
		}
	}
}

// Every operation of the document is served, and every other method is refused.
func TestDocumentNamesTheRoutes(t *testing.T) {
	w := newWorld(t)
	ids := map[string]bool{}
	for path, item := range w.doc.Paths.Map() {
		there := strings.NewReplacer("{id}", "77", "{version}", "77", "{name}", "none").Replace(path)
		for _, method := range []string{"DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"} {
			answer := w.do(request(method, there, "", ""))
			operation := item.GetOperation(method)
			if operation == nil {
				if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") == "" {
					t.Errorf("%s %s: status %d, and the document has no such operation", method, path, answer.Code)
				}
				continue
			}
			if ids[operation.OperationID] {
				t.Errorf("two operations are called %s", operation.OperationID)
			}
			ids[operation.OperationID] = true
			open := operation.Security != nil && len(*operation.Security) == 0
			if !open && answer.Code != http.StatusUnauthorized {
				t.Errorf("%s %s: a stranger is answered %d", method, path, answer.Code)
			}
		}
	}
	for _, path := range []string{"/api/v1", "/api/v1/", "/api/v1/none", "/api/v1/clusters/1/none", "/api/v1/clusters/"} {
		if answer := w.do(request(http.MethodGet, path, w.root, "")); answer.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, answer.Code)
		}
	}
}

// The document has every pattern of the muxes that serve, and no other.
func TestDocumentIsTheMux(t *testing.T) {
	w := newWorld(t)
	var served, told []string
	for _, handler := range []any{w.API, w.harbor} {
		served = append(served, patterns(t, reflect.ValueOf(handler).Elem().FieldByName("mux").Elem())...)
	}
	for path, item := range w.doc.Paths.Map() {
		for method := range item.Operations() {
			told = append(told, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(told)
	if len(served) < 50 || !slices.Equal(served, told) {
		t.Errorf("the muxes have\n%q\nthe document\n%q", served, told)
	}
}

// patterns reads what a ServeMux was given from the index that it looks conflicts up in.
func patterns(t *testing.T, mux reflect.Value) []string {
	t.Helper()
	index := mux.FieldByName("index")
	found := map[string]bool{}
	take := func(list reflect.Value) {
		for i := range list.Len() {
			found[list.Index(i).Elem().FieldByName("str").String()] = true
		}
	}
	take(index.FieldByName("multis"))
	for each := index.FieldByName("segments").MapRange(); each.Next(); {
		take(each.Value())
	}
	return slices.Collect(maps.Keys(found))
}
