// Package docs tests the documents of the repository: their links, and their Go
// code. It has no other purpose.
//
// The go command does not see that a result of this test depends on files
// outside of this module. After a change of a document alone, run it with
// -count=1.
package docs
