package trouble

import (
	"testing"

	"github.com/darter-p2p/darter/integration/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
