// The smallest function in Go. wasi.go is what lies between it and wasi:http.
package main

// answer is called for each request.
func answer(path string) string {
	return "hello from Go, you asked for " + path + "\n"
}

// The component is a library: this is never called.
func main() {}
