package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/problem"
)

// object is a JSON object of the document.
type object = map[string]any

// Document returns the OpenAPI document, made of the table of routes.
func (a *API) Document() ([]byte, error) {
	d := &document{schemas: object{}}
	paths := object{}
	for _, r := range append(prefixed(a.routes), harborRoutes()...) {
		path := r.path
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(r.method)] = d.operation(&r)
	}
	paths[Prefix+"/openapi.json"] = object{"get": object{
		"operationId": "getDocument", "summary": "Returns this document.", "security": []any{},
		"responses": object{"200": object{"description": "The document.", "content": object{"application/json": object{"schema": object{"type": "object"}}}}},
	}}
	d.schema(reflect.TypeFor[problem.Problem]())
	whole := object{
		"openapi": "3.0.3",
		"info": object{
			"title": "darter-manager", "version": "v1",
			"description": "Runs clusters of darter. Errors are problem+json; lists are paged; unknown parameters and fields are refused.",
		},
		"paths": paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"token":   object{"type": "http", "scheme": "bearer", "description": "A personal access token."},
				"session": object{"type": "apiKey", "in": "cookie", "name": Cookie, "description": "A browser's session."},
			},
		},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(whole); err != nil {
		return nil, fmt.Errorf("openapi document: %w", err)
	}
	return out.Bytes(), nil
}

// document collects the schemas that operations name.
type document struct {
	schemas object
	// loose says that the schemas of this operation hold what they need not.
	loose bool
}

// prefixed returns routes with their whole paths.
func prefixed(routes []route) []route {
	out := slices.Clone(routes)
	for i := range out {
		out[i].path = Prefix + out[i].path
	}
	return out
}

// tag is what operations are grouped by: the kind of object, or "harbor".
func tag(path string) string {
	if rest, ok := strings.CutPrefix(path, Prefix+"/"); ok {
		object, _, _ := strings.Cut(rest, "/")
		return object
	}
	return "harbor"
}

func (d *document) operation(r *route) object {
	out := object{"operationId": r.name, "summary": r.doc, "tags": []string{tag(r.path)}}
	d.loose = r.loose
	var params []object
	for _, p := range r.params {
		schema := object{"type": p.kind}
		if p.kind == "integer" {
			schema["format"], schema["minimum"] = "int64", 0
		}
		if len(p.enum) > 0 {
			schema["enum"] = p.enum
		}
		one := object{"name": p.name, "in": "query", "schema": schema}
		if p.doc != "" {
			one["description"] = p.doc
		}
		if p.inPath {
			one["in"], one["required"] = "path", true
		}
		params = append(params, one)
	}
	if params != nil {
		out["parameters"] = params
	}
	if r.body != reflect.TypeFor[none]() {
		out["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.schema(r.body)}}}
	}
	success := object{"description": "Done."}
	switch {
	case r.status == http.StatusSeeOther:
		success["headers"] = object{"Location": object{"required": true, "schema": object{"type": "string", "format": "uri"}}}
	case r.page != "":
		success["content"] = object{r.page: object{"schema": object{"type": "string"}}}
	case r.status != http.StatusNoContent:
		success["content"] = object{"application/json": object{"schema": d.schema(r.answer)}}
	}
	out["responses"] = object{
		strconv.Itoa(r.status): success,
		"default":              object{"description": "Refused or failed.", "content": object{"application/problem+json": object{"schema": reference("Problem")}}},
	}
	if r.right == (right{}) {
		out["security"] = []any{}
		return out
	}
	out["security"] = []any{object{"token": []string{}}, object{"session": []string{}}}
	if r.right.object != "" {
		out["description"] = fmt.Sprintf("Needs %s:%s.", r.right.object, r.right.action)
	}
	return out
}

func reference(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// enums are the values of types that have few.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[model.Role]():     {string(model.RoleScheduler), string(model.RoleSeed), string(model.RoleNode)},
	reflect.TypeFor[model.State]():    {string(model.Active), string(model.Inactive)},
	reflect.TypeFor[model.JobState](): jobStates(),
}

// schema returns a type's schema, structs by reference.
func (d *document) schema(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[model.Time]():
		return object{"type": "string", "format": "date-time", "nullable": true}
	case reflect.TypeFor[json.RawMessage]():
		return object{"nullable": true, "description": "Any value."}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.String:
		if values := enums[t]; values != nil {
			return object{"type": "string", "enum": values}
		}
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{"nullable": true, "description": "Any value."}
	case reflect.Map:
		return object{"type": "object", "nullable": true, "additionalProperties": d.schema(t.Elem())}
	case reflect.Slice:
		return object{"type": "array", "nullable": true, "items": d.schema(t.Elem())}
	}
	name := schemaName(t)
	if d.schemas[name] == nil {
		s := object{} // before its fields, for types that hold themselves
		d.schemas[name] = s
		properties := object{}
		required := d.fields(t, properties)
		slices.Sort(required)
		maps.Copy(s, object{"type": "object", "properties": properties, "additionalProperties": d.loose})
		if len(required) > 0 && !d.loose {
			s["required"] = required
		}
	}
	return reference(name)
}

// fields adds a struct's fields and returns those that are always there.
func (d *document) fields(t reflect.Type, into object) (required []string) {
	for f := range t.Fields() {
		tag, has := f.Tag.Lookup("json")
		if f.Anonymous && !has {
			required = append(required, d.fields(f.Type, into)...)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		into[name] = d.schema(f.Type)
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return required
}

// schemaName is a type's name; a page is named after what it lists.
func schemaName(t reflect.Type) string {
	name, of, generic := strings.Cut(t.Name(), "[")
	if generic {
		of = strings.TrimSuffix(of, "]")
		return of[strings.LastIndexByte(of, '.')+1:] + name
	}
	if pkg := t.PkgPath(); pkg == harborPackage {
		return "Harbor" + strings.ToUpper(name[:1]) + name[1:]
	}
	return name
}
