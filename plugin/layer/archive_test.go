package layer

import "github.com/darter-p2p/darter/plugin/layer/layertest"

// The tests' words for what layertest has.
type entry = layertest.Entry

var (
	archiveOf, gzipped, zstded = layertest.Archive, layertest.Gzipped, layertest.Zstded

	file, dir, symlink, hardlink, device = layertest.File, layertest.Dir, layertest.Symlink, layertest.Hardlink, layertest.Device
)

const typeTar, typeGzip, typeZstd = layertest.TypeTar, layertest.TypeGzip, layertest.TypeZstd
