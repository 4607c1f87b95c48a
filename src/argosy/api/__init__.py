"""What users write: Kubernetes and Istio objects as frozen structs, decoded, validated, encoded.

``decode`` turns text into objects and problems, ``validate`` looks at one object alone,
``registry`` lists the kinds. Nothing here knows other objects of the mesh, nor Envoy.
"""
