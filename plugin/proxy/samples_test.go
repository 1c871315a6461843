package proxy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The samples for nydusd are JSON, and name darterd's own ports.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../contrib/nydus/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		type door struct {
			URL      string            `json:"url"`
			Host     string            `json:"host"`
			Ping     string            `json:"ping_url"`
			UseHTTP  bool              `json:"use_http"`
			Fallback bool              `json:"fallback"`
			Headers  map[string]string `json:"headers"`
		}
		var c struct {
			Device struct {
				Backend struct {
					Config struct {
						Proxy   *door  `json:"proxy"`
						Mirrors []door `json:"mirrors"`
					} `json:"config"`
				} `json:"backend"`
			} `json:"device"`
		}
		if err := json.Unmarshal(b, &c); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		all := c.Device.Backend.Config.Mirrors
		if p := c.Device.Backend.Config.Proxy; p != nil {
			if !p.UseHTTP || !p.Fallback {
				t.Errorf("%s: the proxy is %+v", file, p)
			}
			p.Host = p.URL
			all = append(all, *p)
		}
		if len(all) != 1 || all[0].Host != "http://127.0.0.1:65001" || all[0].Ping != "http://127.0.0.1:40901/server/ping" {
			t.Errorf("%s: %+v", file, all)
		}
	}
}
