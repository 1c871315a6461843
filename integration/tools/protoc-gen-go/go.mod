module github.com/darter-p2p/darter/integration/tools/protoc-gen-go

go 1.26.6

tool google.golang.org/protobuf/cmd/protoc-gen-go

require google.golang.org/protobuf v1.36.12 // indirect
