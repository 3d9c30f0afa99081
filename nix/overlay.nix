final: prev: {
  pier = final.callPackage ./package.nix { };
}
